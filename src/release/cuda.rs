//! CUDA in the agent: a variant of its image with the release's plug-in.

use super::{Component, Release};
use crate::error::Fault;
use crate::python::LockedFile;
use serde::{Deserialize, Serialize};

/// The image and service that CUDA comes into.
const AGENT: &str = "agent";

/// `[cuda]` of `release.toml`: by upstream's table of compatible versions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CudaData {
    /// Optional component that is the plug-in.
    pub plugin: String,
    /// Optional component that makes devices up.
    pub mock: String,
    /// NVIDIA's wheel with the runtime library that the plug-in loads.
    pub runtime: LockedFile,
    /// Folder of that library in the image.
    pub libraries: String,
}

/// Which devices the agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cuda {
    /// Those of the engine's host.
    Gpu,
    /// Those of a configuration file.
    Mock,
}

impl Release {
    /// The optional component that is the plug-in.
    pub fn cuda_plugin(&self, cuda: Cuda) -> Result<&Component, Fault> {
        let absent = || {
            Fault::usage(format!("release {} has no CUDA plug-in here", self.branch))
                .hint("describe it as `[cuda]` in a folder over the catalog: `BAIBOX_IMAGES`, see the README")
        };
        let data = self.cuda.as_ref().ok_or_else(absent)?;
        let name = if cuda == Cuda::Gpu { &data.plugin } else { &data.mock };
        self.optional.iter().find(|component| component.name == *name).ok_or_else(absent)
    }

    /// The release whose agent has the plug-in.
    pub fn with_cuda(mut self, cuda: Cuda) -> Result<Self, Fault> {
        let plugin = self.cuda_plugin(cuda)?.name.clone();
        let data = self.cuda.clone();
        for image in self.images.iter_mut().filter(|image| image.name == AGENT) {
            image.links.push(plugin.clone());
            if let Some(data) = data.as_ref().filter(|_| cuda == Cuda::Gpu) {
                image.wheels.push(data.runtime.clone());
                image.settings.env.insert("LD_LIBRARY_PATH".into(), data.libraries.clone());
            }
        }
        Ok(self)
    }

    /// Components whose trees the images need: all, and those optional ones that an image links.
    pub fn linked(&self) -> impl Iterator<Item = &Component> {
        let links = |name: &String| self.images.iter().any(|image| image.links.contains(name));
        self.components.iter().chain(self.optional.iter().filter(move |component| links(&component.name)))
    }
}

#[cfg(test)]
mod tests {
    use crate::release::{Catalog, Cuda};

    #[test]
    fn the_agent_alone_gets_the_plug_in_and_a_real_one_the_runtime_library() {
        let plain = Catalog::release("21.03").unwrap();
        for (cuda, plugin, wheels) in [(Cuda::Gpu, "accelerator-cuda", 1), (Cuda::Mock, "accelerator-cuda-mock", 0)] {
            let release = plain.clone().with_cuda(cuda).unwrap();
            for (image, before) in release.images.iter().zip(&plain.images) {
                let more = if image.name == "agent" { vec![plugin.to_owned()] } else { Vec::new() };
                assert_eq!(image.links, [before.links.clone(), more].concat(), "{}", image.name);
                assert_eq!(image.wheels.len(), if image.name == "agent" { wheels } else { 0 });
            }
            assert!(release.linked().any(|component| component.name == plugin));
            assert_eq!(release.linked().count(), plain.linked().count() + 1);
        }
        let mut without = plain;
        without.cuda = None;
        assert!(without.with_cuda(Cuda::Mock).unwrap_err().to_string().contains("no CUDA plug-in"));
    }
}
