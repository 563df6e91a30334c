//! The judge: a pseudoterminal of the Linux that the tests run on. Both it and [`LineDiscipline`] get the same random
//! settings and bytes, and all that a program or a person could see must be the same.
//!
//! A failure prints its seed. `TERMINAL_ORACLE_SEED=n` replays one scenario and tells every step;
//! `TERMINAL_ORACLE_SCENARIOS=n` runs another number of them than by default.

mod linux;
mod scenario;
mod script;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const DEFAULT_SCENARIOS: u64 = 1000;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn random_scenarios_go_as_on_linux() {
    if let Some(seed) = number_from_environment("TERMINAL_ORACLE_SEED") {
        scenario::run(seed, |step| std::eprintln!("{step}"));
        return;
    }
    for seed in 0..number_from_environment("TERMINAL_ORACLE_SCENARIOS").unwrap_or(DEFAULT_SCENARIOS) {
        let result = catch_unwind(AssertUnwindSafe(|| scenario::run(seed, |_| {})));
        if let Err(panic) = result {
            std::eprintln!("replay with TERMINAL_ORACLE_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
