//! The allocator of a process that is ours.

unsafe extern "C" {
    /// `cpp/allocator.cpp`
    fn dh_keep_freed_memory();
}

/// Keeps some freed memory in the process, so that the messages of a stream don't get and give back their pages one
/// after the other. Not for a process that belongs to somebody else: it holds for all of it.
pub fn keep_freed_memory() {
    // SAFETY: no arguments; only sets two numbers of the allocator.
    unsafe { dh_keep_freed_memory() }
}
