//! Which of the client's transactions a call belongs to, so that a driver that has lost it does not begin another.

use std::fmt;
use std::str::FromStr;

/// The value of the header [`TRANSACTION_HEADER`](crate::TRANSACTION_HEADER): `7 first` or `7 later`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMark {
    /// Numbers the session's transactions, from 1.
    pub number: u64,
    /// Whether the driver has answered a call of this transaction before: it must know it then.
    pub begun: bool,
}

impl fmt::Display for TransactionMark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.number, if self.begun { "later" } else { "first" })
    }
}

impl FromStr for TransactionMark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("'{text}' names no transaction");
        let (number, place) = text.split_once(' ').ok_or_else(malformed)?;
        let begun = match place {
            "first" => false,
            "later" => true,
            _ => return Err(malformed()),
        };
        Ok(Self { number: number.parse().map_err(|_| malformed())?, begun })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_header() {
        for mark in [TransactionMark { number: 1, begun: false }, TransactionMark { number: u64::MAX, begun: true }] {
            assert_eq!(mark.to_string().parse::<TransactionMark>().unwrap(), mark);
        }
        for text in ["", "7", "7 ", "first 7", "-1 first", "7 second"] {
            assert!(text.parse::<TransactionMark>().is_err(), "{text}");
        }
    }
}
