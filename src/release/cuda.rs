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
    pub plugin: Plugin,
    /// The one that makes devices up.
    pub mock: Plugin,
    /// File of made-up devices, below `images/cuda/` and in the agent's folder.
    pub devices: String,
    /// NVIDIA's wheel with the runtime library that the plug-in loads.
    pub runtime: LockedFile,
    /// Folder of that library, below `site-packages`.
    pub libraries: String,
}

/// Where a plug-in is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plugin {
    /// An optional component.
    Component(String),
    /// A module of the one repository, which is on if the agent's configuration names it.
    Module(String),
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
    /// What is known of CUDA here, and the plug-in for such devices.
    pub fn cuda_plugin(&self, cuda: Cuda) -> Result<(&CudaData, &Plugin), Fault> {
        let data = self.cuda.as_ref().ok_or_else(|| {
            Fault::usage(format!("release {} has no CUDA plug-in here", self.branch))
                .hint("describe it as `[cuda]` in a folder over the catalog: `BAIBOX_IMAGES`, see the README")
        })?;
        Ok((data, if cuda == Cuda::Gpu { &data.plugin } else { &data.mock }))
    }

    /// The release whose agent has the plug-in.
    pub fn with_cuda(mut self, cuda: Cuda) -> Result<Self, Fault> {
        let (data, plugin) = self.cuda_plugin(cuda)?;
        let (data, plugin) = (data.clone(), plugin.clone());
        for image in self.images.iter_mut().filter(|image| image.name == AGENT) {
            if let Plugin::Component(name) = &plugin {
                image.links.push(name.clone());
            }
            if cuda == Cuda::Gpu {
                image.wheels.push(data.runtime.clone());
                let libraries = format!("/opt/venv/lib/python{}/site-packages/{}", self.python, data.libraries);
                image.settings.env.insert("LD_LIBRARY_PATH".into(), libraries);
            }
        }
        if let (Plugin::Module(name), Some(toml::Value::Table(values))) = (plugin, self.values.get_mut(AGENT)) {
            values.insert("compute-plugin".into(), name.into());
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
    use crate::release::{Catalog, Cuda, Plugin};

    #[test]
    fn the_agent_alone_gets_the_plug_in_and_a_real_one_the_runtime_library() {
        for branch in ["20.09", "21.03", "21.09", "23.03", "25.15", "26.4", "26.8"] {
            let plain = Catalog::release(branch).unwrap();
            for (cuda, wheels) in [(Cuda::Gpu, 1), (Cuda::Mock, 0)] {
                let plugin = plain.cuda_plugin(cuda).unwrap().1.clone();
                let release = plain.clone().with_cuda(cuda).unwrap();
                let trees: Vec<String> = match &plugin {
                    Plugin::Component(name) => vec![name.clone()],
                    Plugin::Module(_) => Vec::new(),
                };
                for (image, before) in release.images.iter().zip(&plain.images) {
                    let more = if image.name == "agent" { &trees[..] } else { &[] };
                    assert_eq!(image.links, [&before.links, more].concat(), "{}", image.name);
                    assert_eq!(image.wheels.len(), if image.name == "agent" { wheels } else { 0 });
                }
                assert!(trees.iter().all(|tree| release.linked().any(|component| component.name == *tree)));
                assert_eq!(release.linked().count(), plain.linked().count() + trees.len());
                let on = release.values["agent"].get("compute-plugin").and_then(|name| name.as_str());
                let module = if let Plugin::Module(name) = &plugin { Some(name.as_str()) } else { None };
                assert_eq!(on, module, "{branch}");
            }
        }
        let mut without = Catalog::release("21.03").unwrap();
        without.cuda = None;
        assert!(without.with_cuda(Cuda::Mock).unwrap_err().to_string().contains("no CUDA plug-in"));
    }
}
