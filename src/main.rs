use clap::Parser;

fn main() -> std::process::ExitCode {
    let cli = baibox::cli::Cli::parse();
    std::process::ExitCode::from(baibox::commands::run(cli) as u8)
}
