//! What a registry's refusal means, and what to do about it.

use super::Registry;
use crate::error::Fault;
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;

/// The fault of an answer to `what`, with its next steps.
pub fn refusal(registry: &Registry, what: &str, error: &OciDistributionError) -> Fault {
    let host = &registry.place.registry;
    let refused = Fault::new(format!("the registry `{host}` refused: {what}"));
    let again = "then type the same command again: what is there is not sent again";
    let may = || format!("see that your account may use `{}`, or log in as another: `docker login {host}`", registry.place);
    match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            log_in(registry, refused)
        }
        OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first().map(|error| &error.code) {
            Some(OciErrorCode::Unauthorized) => log_in(registry, refused),
            Some(OciErrorCode::Denied) => refused.hint(may()),
            Some(OciErrorCode::NameUnknown | OciErrorCode::NotFound) => {
                refused.hint(format!("make the repositories below `{}` first: this registry does not by itself", registry.place))
            }
            Some(OciErrorCode::Toomanyrequests) => refused.hint(format!("it has had too many requests: wait, {again}")),
            _ => refused.hint(format!("mend what it says, {again}")),
        },
        OciDistributionError::ServerError { code: 401, .. } => log_in(registry, refused),
        OciDistributionError::ServerError { code: 403, .. } => refused.hint(may()),
        OciDistributionError::ServerError { code: 404 | 405, .. } => {
            refused.hint(format!("see that `{host}` is a registry and `{}` a place in it", registry.place))
        }
        OciDistributionError::ServerError { code: 429, .. } => {
            refused.hint(format!("it has had too many requests: wait, {again}"))
        }
        OciDistributionError::ServerError { .. } => refused.hint(format!("it is out of order: wait until it is well, {again}")),
        OciDistributionError::RequestError(error) => unreachable(host, what, error, again),
        OciDistributionError::DigestError(_) => lied(host, what),
        OciDistributionError::IoError(error) if error.kind() == std::io::ErrorKind::InvalidData => lied(host, what),
        _ => refused.hint(format!("see that `{host}` is a registry, {again}")),
    }
}

fn log_in(registry: &Registry, refused: Fault) -> Fault {
    let host = &registry.place.registry;
    match registry.auth {
        RegistryAuth::Anonymous => refused.hint(format!("log in: `docker login {host}`")),
        _ => refused.hint(format!("the login that is kept for it was not accepted, log in again: `docker login {host}`")),
    }
}

/// Nothing of it is kept.
fn lied(host: &str, what: &str) -> Fault {
    Fault::new(format!("what the registry `{host}` sent is not what it says: {what}"))
        .hint("push it again from where it was made, or leave the registry out")
}

/// Nobody answered, or not in TLS as it must be.
fn unreachable(host: &str, what: &str, error: &reqwest::Error, again: &str) -> Fault {
    let mut words = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        words.push_str(&format!("{error}\n"));
        cause = error.source();
    }
    // The words of rustls, whose types are not handed on.
    if words.contains("InvalidContentType") {
        return Fault::new(format!("`{host}` does not speak TLS: {what}"))
            .hint("if nobody else can listen on the way there, allow it with `--plain-http`");
    }
    if words.contains("certificate") {
        return Fault::new(format!("the certificate of `{host}` is not trusted: {what}"))
            .hint("add its authority to the host's trust store, or name a bundle that has it in `SSL_CERT_FILE`");
    }
    let fault = match error.status().map(|status| status.as_u16()) {
        Some(status) => {
            return Fault::new(format!("the registry `{host}` answered {status}: {what}"))
                .hint(format!("wait until it is well, {again}"));
        }
        None if error.is_timeout() => Fault::new(format!("the registry `{host}` gave no answer in time: {what}")),
        None => Fault::new(format!("the registry `{host}` cannot be reached: {what}")),
    };
    fault.hint(format!("see that name and port are right and that it runs, {again}"))
}
