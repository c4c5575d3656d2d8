//! Where the secrets of DNS cookies come from: a file that all servers of an
//! anycast set have, or chance.
//!
//! ```text
//! # openssl rand -hex 16
//! 445536bcd2513298075a5d379663c962
//! dd3bdf9344b678b185a6f5cb60fca715   # taken until 2026-01-31
//! ```
//!
//! The first secret makes cookies, the second is the one before it, whose cookies
//! are still taken.

use std::io;
use std::path::{Path, PathBuf};

use crate::answer::Secrets;
use crate::answer::cookie::SECRET;

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum CookieSecretsError {
    /// The file cannot be read.
    #[error("cannot read the cookie secret {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// A line is no secret, or one too many.
    #[error("{}:{line}: {sentence}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what to do.
        sentence: &'static str,
    },
    /// The kernel has no random numbers.
    #[error("cannot make a cookie secret: {0}; name a file of them with --cookie-secret")]
    NoChance(io::Error),
}

/// Reads secrets from a file.
///
/// # Errors
///
/// A sentence with the file and the line.
pub fn read(path: &Path) -> Result<Secrets, CookieSecretsError> {
    let text = std::fs::read_to_string(path).map_err(|error| CookieSecretsError::Unreadable {
        path: path.into(),
        error,
    })?;
    parse(&text).map_err(|(line, sentence)| CookieSecretsError::Malformed {
        path: path.into(),
        line,
        sentence,
    })
}

/// A secret that nobody else knows, until the process ends.
///
/// # Errors
///
/// What the kernel says.
pub fn random() -> Result<Secrets, CookieSecretsError> {
    let mut current = [0; SECRET];
    getrandom::fill(&mut current).map_err(|error| CookieSecretsError::NoChance(error.into()))?;
    Ok(Secrets {
        current,
        previous: None,
    })
}

/// The secrets in a text, or the line that is wrong and why.
fn parse(text: &str) -> Result<Secrets, (usize, &'static str)> {
    let mut secrets = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let secret = line.split('#').next().unwrap_or_default().trim();
        if secret.is_empty() {
            continue;
        }
        let octets = data_encoding::HEXLOWER_PERMISSIVE.decode(secret.as_bytes());
        let octets = octets.ok().and_then(|octets| octets.try_into().ok());
        let octets: [u8; SECRET] = octets.ok_or((
            index + 1,
            "this is no secret; write 32 hexadecimal digits, as `openssl rand -hex 16` prints them",
        ))?;
        if secrets.len() == 2 {
            let sentence = "a third secret; leave the one that makes cookies and the one before it";
            return Err((index + 1, sentence));
        }
        secrets.push(octets);
    }
    let Some(current) = secrets.first().copied() else {
        let line = text.lines().count().max(1);
        return Err((
            line,
            "the file holds no secret; write 32 hexadecimal digits, as `openssl rand -hex 16` prints them",
        ));
    };
    Ok(Secrets {
        current,
        previous: secrets.get(1).copied(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "445536bcd2513298075a5d379663c962";
    const TWO: &str = "DD3BDF9344B678B185A6F5CB60FCA715";

    #[test]
    fn a_file_has_one_secret_or_two() {
        let one = parse(&format!("# new\n\n  {ONE}  # since today\n")).unwrap();
        assert_eq!((one.current[0], one.previous), (0x44, None));
        let two = parse(&format!("{ONE}\r\n{TWO}")).unwrap();
        assert_eq!(two.current, one.current);
        assert_eq!(two.previous.map(|secret| secret[15]), Some(0x15));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, at, says) in [
            ("", 1, "no secret"),
            ("# nothing\n#", 2, "no secret"),
            (&ONE[1..], 1, "32 hexadecimal digits"),
            (&format!("{ONE}\n{ONE}0"), 2, "32 hexadecimal digits"),
            (&format!("{ONE}\n\nx{}", &ONE[1..]), 3, "32 hexadecimal"),
            (&format!("{ONE} {TWO}"), 1, "32 hexadecimal"),
            (&format!("{ONE}\n{TWO}\n{ONE}"), 3, "third"),
        ] {
            let (line, sentence) = parse(text).unwrap_err();
            assert!(line == at && sentence.contains(says), "{text}: {sentence}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("cannot read") && error.contains("/secret"),
            "{error}"
        );
        std::fs::write(&path, "#\nx").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("/secret:2: "), "{error}");
    }

    #[test]
    fn chance_makes_another_secret_each_time() {
        assert_ne!(random().unwrap().current, random().unwrap().current);
    }
}
