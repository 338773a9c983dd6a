//! Packing our messages into `google.protobuf.Any`, as Flight SQL packs its own.

use arrow_flight::sql::Any;
use prost::Message;
use prost::bytes::Bytes;

/// A message with the type URL under which it travels.
pub trait Command: Message + Default {
    const TYPE_URL: &'static str;

    /// The message packed into an `Any` and encoded, ready for a ticket, a descriptor or an action body.
    fn pack(&self) -> Bytes {
        Any { type_url: Self::TYPE_URL.to_string(), value: self.encode_to_vec().into() }.encode_to_vec().into()
    }

    /// The message inside `any`, or `None` if it holds another kind.
    ///
    /// # Errors
    /// The bytes are not what the type URL says.
    fn from_any(any: &Any) -> Result<Option<Self>, prost::DecodeError> {
        if any.type_url == Self::TYPE_URL { Self::decode(any.value.clone()).map(Some) } else { Ok(None) }
    }
}

/// The version in the names of our messages. It goes up with every change that a peer which does not know it would get
/// wrong: it then refuses the message, as one that it does not know.
pub const PROTOCOL_VERSION: u32 = 13;

/// The version of a message of ours; nothing for any other.
pub fn version_of(type_url: &str) -> Option<u32> {
    let (version, _) = type_url.strip_prefix("type.googleapis.com/duckherder.v")?.split_once('.')?;
    version.parse().ok()
}

/// What to say of a message that is not known: whose version is another, if it is that.
pub fn unknown(type_url: &str, who: &str) -> String {
    match version_of(type_url) {
        Some(version) if version != PROTOCOL_VERSION => format!(
            "this {who} speaks Duckherder's protocol {PROTOCOL_VERSION} (Duckherder {}), its peer protocol {version}: use \
             the same version of both",
            env!("CARGO_PKG_VERSION")
        ),
        _ => format!("this {who} knows no '{type_url}'"),
    }
}

/// Gives messages their names, with the [`PROTOCOL_VERSION`].
macro_rules! command {
    ($($message:ident),+ $(,)?) => {
        $(impl $crate::any::Command for $message {
            const TYPE_URL: &'static str = concat!("type.googleapis.com/duckherder.v13.", stringify!($message));
        })+
    };
}
pub(crate) use command;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_version() {
        assert_eq!(version_of(crate::actions::CountWorkers::TYPE_URL), Some(PROTOCOL_VERSION));
        assert_eq!(version_of("type.googleapis.com/duckherder.v4.RunTask"), Some(4));
        assert_eq!(version_of("type.googleapis.com/duckherder.Hello"), None);
        let older = unknown("type.googleapis.com/duckherder.v4.RunTask", "worker");
        assert!(older.contains(&format!("protocol {PROTOCOL_VERSION}")) && older.contains("protocol 4"), "{older}");
    }
}
