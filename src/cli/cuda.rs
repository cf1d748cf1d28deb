#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CudaChoice {
    /// GPUs of the engine's host
    Gpu,
    /// Devices of a configuration file, without a GPU
    Mock,
    /// No plug-in
    Off,
}
