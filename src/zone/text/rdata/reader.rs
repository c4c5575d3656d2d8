//! The tokens of one record's data, taken one by one by the fields, and what
//! to say where one is wrong. Each kind of field reads itself from here and
//! appends its wire form to `out`; a fault names the field and the token.

use std::fmt::Display;

use super::super::scanner::Token;
use crate::wire::Name;

/// What is wrong with a record's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// The token at fault, counted from the first behind the type; the number
    /// of tokens means that something is missing at the end.
    pub token: usize,
    /// Which field, and why.
    pub sentence: String,
}

/// The most of a token that a message repeats, in octets.
const MAX_QUOTED: usize = 48;

/// A record's data on its way from tokens to octets.
pub(super) struct Reader<'r, 't> {
    /// What relative names are completed with.
    pub origin: Option<&'r Name>,
    /// The name of the field being read, for messages.
    pub field: &'static str,
    /// The wire form grows here.
    pub out: &'r mut Vec<u8>,
    start: usize,
    tokens: &'r [Token<'t>],
    taken: usize,
}

impl<'r, 't> Reader<'r, 't> {
    pub fn new(tokens: &'r [Token<'t>], origin: Option<&'r Name>, out: &'r mut Vec<u8>) -> Self {
        Reader {
            origin,
            field: "",
            start: out.len(),
            out,
            tokens,
            taken: 0,
        }
    }

    /// The next token.
    #[inline]
    pub fn token(&mut self) -> Result<Token<'t>, FieldFault> {
        let token = self.tokens.get(self.taken).ok_or_else(|| self.missing())?;
        self.taken += 1;
        Ok(*token)
    }

    /// The next token, which stays where it is.
    pub fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.taken).copied()
    }

    /// All tokens that are left.
    pub fn rest(&mut self) -> &'r [Token<'t>] {
        let rest = &self.tokens[self.taken..];
        self.taken = self.tokens.len();
        rest
    }

    pub fn is_empty(&self) -> bool {
        self.taken == self.tokens.len()
    }

    /// How many tokens have been taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The octets written so far.
    pub fn data(&self) -> &[u8] {
        &self.out[self.start..]
    }

    /// Writes octets.
    #[inline]
    pub fn append<const N: usize>(&mut self, octets: [u8; N]) {
        self.out.extend_from_slice(&octets);
    }

    /// The next token as a number of up to `limit`.
    pub fn number(&mut self, limit: u32) -> Result<u32, FieldFault> {
        let token = self.token()?;
        match number(token.text) {
            None => Err(self.fault("not a number")),
            Some(value) if value > u64::from(limit) => {
                Err(self.fault(format_args!("more than {limit}")))
            }
            Some(value) => Ok(value as u32),
        }
    }

    /// A fault in the token taken last.
    #[cold]
    pub fn fault(&self, reason: impl Display) -> FieldFault {
        self.fault_at(self.taken.saturating_sub(1), reason)
    }

    /// A fault in any token.
    #[cold]
    pub fn fault_at(&self, token: usize, reason: impl Display) -> FieldFault {
        let text = self.tokens.get(token).map_or(&b""[..], |token| token.text);
        FieldFault {
            token,
            sentence: format!("{} `{}`: {reason}", self.field, excerpt(text)),
        }
    }

    #[cold]
    pub fn missing(&self) -> FieldFault {
        FieldFault {
            token: self.tokens.len(),
            sentence: format!("missing field: {}", self.field),
        }
    }

    /// Checks that every token has been taken.
    #[inline]
    pub fn end(&self) -> Result<(), FieldFault> {
        match self.tokens.get(self.taken) {
            None => Ok(()),
            Some(token) => Err(FieldFault {
                token: self.taken,
                sentence: format!("unexpected `{}` after the last field", excerpt(token.text)),
            }),
        }
    }
}

/// A decimal number, digits only; one too large for `u64` is its maximum.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, octet| {
        let digit = octet.is_ascii_digit().then(|| u64::from(octet - b'0'))?;
        Some(value.saturating_mul(10).saturating_add(digit))
    })
}

/// The start of a token as a message shows it.
pub fn excerpt(text: &[u8]) -> String {
    match text.get(..MAX_QUOTED) {
        Some(start) if text.len() > MAX_QUOTED => format!("{}…", String::from_utf8_lossy(start)),
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"007"), Some(7));
        assert_eq!(number(b"18446744073709551616"), Some(u64::MAX));
        for text in [&b""[..], b"-1", b"+1", b"1x", b"0x10", b"1.0", b" 1"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn long_tokens_are_cut_in_messages() {
        assert_eq!(excerpt(&[b'a'; 48]), "a".repeat(48));
        assert_eq!(excerpt(&[b'a'; 49]), "a".repeat(48) + "…");
    }
}
