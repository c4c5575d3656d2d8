//! Numbers and lists as people read them.

use crate::lab::figure::grouped;

/// A number with its thousands set apart.
pub fn number(number: u64) -> String {
    grouped(&number.to_string())
}

/// So many of something, which has a plural in `s`.
pub fn many(count: u64, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {name}{plural}", number(count))
}

/// So many of what was named: `1 was`, `2 were`.
pub fn were(count: u64) -> String {
    let verb = if count == 1 { "was" } else { "were" };
    format!("{} {verb}", number(count))
}

/// So many of something, with what it is or does: `1 flow is`, `2 flows are`.
pub fn many_do(count: u64, name: &str, [one, more]: [&str; 2]) -> String {
    let verb = if count == 1 { one } else { more };
    format!("{} {verb}", many(count, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_write_them() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(count), text);
        }
        assert_eq!(many(1, "flow"), "1 flow");
        assert_eq!(many_do(1, "flow", ["is", "are"]), "1 flow is");
        assert_eq!(many_do(0, "flow", ["is", "are"]), "0 flows are");
        assert_eq!(many(4096, "flow"), "4,096 flows");
    }
}
