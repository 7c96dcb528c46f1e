//! For tests of what belongs to a whole process: signals, the umask, the panic hook, the global subscriber. Such a test
//! runs this test binary again, for itself alone.

use std::process::{Command, Output};

const CASE: &str = "CLAUDETTE_TEST_CASE";

/// What the process that runs the test alone is to do; absent in the process that tests are usually run in.
pub fn case() -> Option<String> {
    std::env::var(CASE).ok()
}

/// Runs the test with this full name alone and waits for its end.
pub fn run(test: &str, case: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    Command::new(program).args(["--exact", "--nocapture", test]).env(CASE, case).output().unwrap()
}
