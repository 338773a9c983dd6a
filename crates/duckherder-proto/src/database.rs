//! Which of a driver's databases a call is about.

/// gRPC header of a call that opens a session: the database that the session works in, [encoded](encode_name); without
/// it, the driver's default one.
pub const DATABASE_HEADER: &str = "x-duckherder-database";

/// A database's name in the characters that headers and all file systems know: ASCII letters, digits, `_` and `-` stand
/// for themselves, every other byte is a `%` with two hexadecimal digits.
pub fn encode_name(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}

/// The name that [`encode_name`] was given; nothing if it gave no such text.
pub fn decode_name(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
                u8::try_from(high * 16 + low).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives() {
        for name in ["sales", "Sales 2026", "a.b", "50%", "Größe", "", "%", "we\"ird", "../x", "日本"] {
            let encoded = encode_name(name);
            assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-%".contains(&byte)), "{encoded}");
            assert_eq!(decode_name(&encoded).as_deref(), Some(name));
        }
        assert_eq!(encode_name("a b"), "a%20b");
        for text in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decode_name(text), None, "{text}");
        }
    }
}
