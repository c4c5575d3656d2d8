//! What the source must know to be let in: a key of 128 bits, which is proven by
//! computing with it (SipHash-2-4-128, a pseudorandom function) and never sent.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use siphasher::sip128::SipHasher24;

const OCTETS: usize = 16;

/// The key.
#[derive(Clone, Copy)]
pub struct Token([u8; OCTETS]);

/// What both compute with, new for each connection, so that nothing can be said twice.
pub(super) type Nonce = Token;

impl Token {
    /// One that nobody knows yet.
    ///
    /// # Errors
    ///
    /// A system without chance.
    pub fn random() -> anyhow::Result<Token> {
        let mut octets = [0; OCTETS];
        getrandom::fill(&mut octets)?;
        Ok(Token(octets))
    }

    pub(super) fn proof(&self, nonce: &Nonce) -> String {
        let hash = SipHasher24::new_with_key(&self.0).hash(&nonce.0);
        HEXLOWER.encode(&hash.as_bytes())
    }

    /// Whether that is the proof. How long it takes does not tell how much is right.
    pub(super) fn is_proven(&self, nonce: &Nonce, proof: &str) -> bool {
        let right = self.proof(nonce);
        let pairs = right.bytes().zip(proof.bytes());
        right.len() == proof.len() && pairs.fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Not for a log by accident.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Token, &'static str> {
        let octets = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes());
        let octets = octets.ok().and_then(|octets| octets.try_into().ok());
        octets
            .map(Token)
            .ok_or("a token is 32 hexadecimal digits, as `shardns lab answer` prints them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_proves_itself() {
        let token: Token = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        let nonce = Token::random().unwrap();
        let proof = token.proof(&nonce);
        assert!(token.is_proven(&nonce, &proof));
        let other: Token = "000102030405060708090a0b0c0d0e0e".parse().unwrap();
        for wrong in [&other.proof(&nonce), &token.proof(&other), &proof[1..], ""] {
            assert!(!token.is_proven(&nonce, wrong), "{wrong}");
        }
        assert_eq!(token.to_string().parse::<Token>().unwrap().0, token.0);
        assert!("0001".parse::<Token>().is_err());
        assert_eq!(format!("{token:?}"), "Token");
    }
}
