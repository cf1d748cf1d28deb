//! Host names are looked up once a process: the system's resolver blocks a thread for
//! each question, and some networks drop questions that come in crowds.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

type Answer = Arc<OnceCell<Vec<SocketAddr>>>;

#[derive(Default)]
pub struct Names(Mutex<BTreeMap<String, Answer>>);

impl Names {
    /// All who ask for a name wait for one answer; a failure is not kept.
    fn answer(&self, name: &str) -> Answer {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let answer = self.answer(name.as_str());
        Box::pin(async move {
            let found = answer
                .get_or_try_init(|| async {
                    let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
                    Ok::<_, io::Error>(found.collect())
                })
                .await?;
            Ok::<Addrs, _>(Box::new(found.clone().into_iter()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_a_failure_again() {
        let names = Names::default();
        let local: Name = "localhost".parse().unwrap();
        assert!(names.resolve(local).await.unwrap().count() > 0);
        assert!(names.answer("localhost").initialized());
        let nobody: Name = "nobody.invalid".parse().unwrap();
        assert!(names.resolve(nobody).await.is_err());
        assert!(!names.answer("nobody.invalid").initialized());
    }
}
