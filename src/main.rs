use clap::Parser;

fn main() -> std::process::ExitCode {
    give_memory_back();
    let cli = baibox::cli::Cli::parse();
    std::process::ExitCode::from(baibox::commands::run(cli) as u8)
}

/// glibc keeps what threads free, the more the larger the blocks that were freed: a cold
/// build then peaks at twice the memory. Two arenas and a fixed limit, above which blocks
/// go back at once, are enough here.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a foreign function; no thread runs yet")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}
