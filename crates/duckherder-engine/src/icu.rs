//! DuckDB's icu extension: time zones, TIMESTAMPTZ arithmetic and collations, linked in by `build/icu.rs`.

unsafe extern "C" {
    /// `cpp/icu/icu.hpp`
    fn dh_register_icu() -> i32;
}

/// Makes icu a part of every database that is opened from now on; call it before opening one.
///
/// May be called any number of times. When DuckDB refuses the extension, opening a database fails with the reason.
pub(crate) fn register() {
    // SAFETY: no arguments; the C++ side takes DuckDB's own lock and throws nothing.
    let _refused = unsafe { dh_register_icu() };
}
