//! Passwords: from the environment or from standard input, never from the command line, where others can read them.

use anyhow::{Context, Result, ensure};
use std::io::Read;

/// Longest password, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// The password, if one was given. Standard input is read to its end, without the line's end.
pub fn read(from_stdin: bool, variable: &str) -> Result<Option<String>> {
    if !from_stdin {
        return Ok(std::env::var(variable).ok().filter(|password| !password.is_empty()));
    }
    let mut password = String::new();
    std::io::stdin()
        .take(BYTES_MAX)
        .read_to_string(&mut password)
        .context("cannot read the password from standard input")?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    ensure!(!password.is_empty(), "the password on standard input is empty");
    Ok(Some(password))
}
