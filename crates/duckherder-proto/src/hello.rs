//! The first words between two processes: which of them speak the same version.

use crate::any::{Command, PROTOCOL_VERSION};

/// `DoAction`: who calls. The answer is a [`Hello`], too. Its name and first fields stay the same for ever, so that every
/// version understands it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// See [`PROTOCOL_VERSION`].
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// Duckherder's version, for people.
    #[prost(string, tag = "2")]
    pub version: String,
    /// `client`, `driver` or `worker`.
    #[prost(string, tag = "3")]
    pub role: String,
    /// Whether a driver takes statements.
    #[prost(enumeration = "DriverState", tag = "4")]
    pub state: i32,
    /// Of an active driver: the number of its life among those of all drivers of its directory; the greatest is the one
    /// that counts. 0: it shares its databases with no other.
    #[prost(uint64, tag = "5")]
    pub epoch: u64,
    /// Of an active driver: which databases it has, if others may take them over.
    #[prost(string, tag = "7")]
    pub databases: String,
    /// Of a standby: the address of the driver whose place it would take, for people.
    #[prost(string, tag = "6")]
    pub waits_for: String,
}

/// Whether a driver takes statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DriverState {
    /// It does.
    Active = 0,
    /// It waits to take the place of another one.
    Standby = 1,
    /// Another one has taken its place: it ends.
    Fenced = 2,
}

impl Command for Hello {
    const TYPE_URL: &'static str = "type.googleapis.com/duckherder.Hello";
}

impl Hello {
    /// What this process says of itself.
    pub fn from(role: &str) -> Self {
        Self {
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_string(),
            role: role.to_string(),
            ..Self::default()
        }
    }

    /// Whether this is a `role` that the speaker of `own` can work with; otherwise what to do.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check(&self, own: &Self, role: &str) -> Result<(), String> {
        if self.protocol != own.protocol {
            return Err(format!(
                "it speaks Duckherder's protocol {} (Duckherder {}), this {} protocol {} (Duckherder {}): use the same \
                 version of both",
                self.protocol, self.version, own.role, own.protocol, own.version
            ));
        }
        if self.role != role {
            return Err(format!("it is a {}, no {role}", self.role));
        }
        Ok(())
    }

    /// What to say of a peer that does not understand a `Hello`.
    pub fn not_understood(&self, role: &str) -> String {
        format!(
            "it is no {role}, or one of a version before protocol {} (Duckherder {}), which this {} speaks: use the same \
             version of both",
            self.protocol, self.version, self.role
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_must_be_the_same() {
        let own = Hello::from("client");
        Hello::from("driver").check(&own, "driver").unwrap();
        assert_eq!(Hello::from("worker").check(&own, "driver").unwrap_err(), "it is a worker, no driver");
        let older = Hello { protocol: 4, version: "0.0.9".to_string(), role: "driver".to_string(), ..Hello::default() };
        let error = older.check(&own, "driver").unwrap_err();
        let expected = format!("protocol 4 (Duckherder 0.0.9), this client protocol {PROTOCOL_VERSION}");
        assert!(error.contains(&expected), "{error}");
    }
}
