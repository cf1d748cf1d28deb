//! Cures of upstream's modules (`images/compat`), each against what it cures.

use std::fs;
use std::process::Command;

/// Upstream's way to make sessions and to look for dead ones, with the engine's pauses.
const AGENT: &str = r#"
import asyncio

class DockerAgent:
    def __init__(self):
        self.running, self.noted, self.ended = set(), set(), []

    async def create_kernel(self, name):
        for _ in range(3):
            await asyncio.sleep(0)
        self.running.add(name)
        for _ in range(3):
            await asyncio.sleep(0)
        self.noted.add(name)
        return name

    async def sync_container_lifecycles(self, interval):
        running = set(self.running)
        for _ in range(5):
            await asyncio.sleep(0)
        self.ended += running ^ self.noted
"#;

/// Whether any order of the two ends a living session; and whether a dead one is still found.
const PROGRAM: &str = r#"
import asyncio, json
from ai.backend.agent.docker.agent import DockerAgent

async def later(turns, what):
    for _ in range(turns):
        await asyncio.sleep(0)
    return await what

async def main():
    ended = 0
    for turns in range(16):
        agent = DockerAgent()
        made, _ = await asyncio.gather(later(8, agent.create_kernel("a")), later(turns, agent.sync_container_lifecycles(10)))
        assert made == "a"
        ended += len(agent.ended)
    agent.running.clear()
    await agent.sync_container_lifecycles(10)
    print(json.dumps([ended, agent.ended[-1:]]))

asyncio.run(main())
"#;

fn ended(cures: &str) -> serde_json::Value {
    let scratch = tempfile::tempdir().unwrap();
    let package = scratch.path().join("ai/backend/agent/docker");
    fs::create_dir_all(&package).unwrap();
    fs::write(package.join("agent.py"), AGENT).unwrap();
    let compat = concat!(env!("CARGO_MANIFEST_DIR"), "/images/compat");
    let run = Command::new("python3")
        .args(["-c", PROGRAM])
        .env("PYTHONPATH", format!("{compat}:{}", scratch.path().display()))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BAIBOX_CURES", cures)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn a_session_that_starts_is_not_taken_for_dead_and_a_dead_one_is() {
    let without = ended("");
    assert!(without[0].as_u64() > Some(0), "{without}");
    assert_eq!(ended("baibox_lifecycle"), serde_json::json!([0, ["a"]]));
}
