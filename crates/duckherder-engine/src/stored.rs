//! Files that databases are kept in, elsewhere than on the local disk.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{EngineError, Result};
use crate::ffi::{DhError, DhFilesTable, DhText};

/// The files. What is synced happens in its order: after a crash, all up to some sync is there.
pub trait StoredFiles: Send + Sync {
    /// Opens a file; `None` if there is none, and none is to be made. With `truncate`, it is empty afterwards.
    ///
    /// # Errors
    /// Becomes the error of the statement.
    fn open(&self, name: &str, create: bool, truncate: bool) -> Result<Option<Box<dyn StoredFile>>>;

    /// # Errors
    /// Becomes the error of the statement.
    fn exists(&self, name: &str) -> Result<bool>;

    /// Removes a file; `false` if there is none.
    ///
    /// # Errors
    /// Becomes the error of the statement.
    fn remove(&self, name: &str) -> Result<bool>;

    /// Gives a file another name, that of another file if need be.
    ///
    /// # Errors
    /// Becomes the error of the statement.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// How much was synced so far; rises with every sync, before others see what was synced.
    fn position(&self) -> u64;

    /// Waits until all that was synced up to a position is durable. Asked before a statement gives its
    /// first rows, and at its end.
    ///
    /// # Errors
    /// Becomes the error of the statement, of which nobody then knows whether it is there after a crash.
    fn wait_durable(&self, position: u64) -> Result<()>;

    /// The last position with which a file of this name has changed; 0 if none has since the files were opened.
    fn changed(&self, name: &str) -> u64;
}

/// A file, read and written by several threads at once. It outlives its name.
pub trait StoredFile: Send + Sync {
    /// # Errors
    /// Becomes the error of the statement.
    fn length(&self) -> Result<u64>;

    /// Reads up to the file's end; returns how many bytes there were.
    ///
    /// # Errors
    /// Becomes the error of the statement.
    fn read(&self, offset: u64, target: &mut [u8]) -> Result<usize>;

    /// # Errors
    /// Becomes the error of the statement.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Bytes that are not needed any more.
    ///
    /// # Errors
    /// Becomes the error of the statement.
    fn trim(&self, offset: u64, count: u64) -> Result<()>;

    /// # Errors
    /// Becomes the error of the statement.
    fn truncate(&self, length: u64) -> Result<()>;

    /// Orders what was written before all that is synced later.
    ///
    /// # Errors
    /// Becomes the error of the statement.
    fn sync(&self) -> Result<()>;
}

/// Where nothing ever is.
const NO_POSITION: u64 = u64::MAX - 1;

/// The path under which DuckDB knows a file.
pub fn stored_path(name: &str) -> String {
    format!("stored://{name}")
}

type Files = Arc<dyn StoredFiles>;
type File = Box<dyn StoredFile>;

/// The files as C++ takes them over.
pub(crate) fn into_raw(files: Files) -> (DhFilesTable, *mut c_void) {
    let table = DhFilesTable {
        open,
        exists,
        remove,
        rename,
        position,
        wait_durable,
        changed,
        release,
        length,
        read,
        write,
        trim,
        truncate,
        sync,
        close,
    };
    (table, Box::into_raw(Box::new(files)).cast())
}

/// Runs what C++ asks for; an error, or a panic, becomes `*error`, and `fallback` the answer.
fn answer<T>(error: *mut DhError, fallback: T, body: impl FnOnce() -> Result<T>) -> T {
    let done = catch_unwind(AssertUnwindSafe(body));
    let problem = match done.unwrap_or_else(|_| Err(EngineError::internal("the storage of databases panicked"))) {
        Ok(value) => return value,
        Err(problem) => problem,
    };
    // SAFETY: `error` is an empty error of C++.
    unsafe { DhError::set(error, &problem) };
    fallback
}

/// # Safety
/// `files` was made by [`into_raw`] and not released.
unsafe fn files_of<'a>(files: *mut c_void) -> &'a Files {
    // SAFETY: as the caller says.
    unsafe { &*files.cast::<Files>() }
}

/// # Safety
/// `file` was made by [`open`] and not closed.
unsafe fn file_of<'a>(file: *mut c_void) -> &'a File {
    // SAFETY: as the caller says.
    unsafe { &*file.cast::<File>() }
}

unsafe extern "C" fn open(
    files: *mut c_void,
    name: DhText,
    create: bool,
    truncate: bool,
    error: *mut DhError,
) -> *mut c_void {
    // SAFETY: C++ calls with what `into_raw` gave it, and with a text that is alive.
    let (files, name) = unsafe { (files_of(files), name.to_string_lossy()) };
    answer(error, std::ptr::null_mut(), || {
        let file = files.open(&name, create, truncate)?;
        Ok(file.map_or(std::ptr::null_mut(), |file| Box::into_raw(Box::new(file)).cast()))
    })
}

unsafe extern "C" fn exists(files: *mut c_void, name: DhText, error: *mut DhError) -> c_int {
    // SAFETY: as above.
    let (files, name) = unsafe { (files_of(files), name.to_string_lossy()) };
    answer(error, -1, || files.exists(&name).map(c_int::from))
}

unsafe extern "C" fn remove(files: *mut c_void, name: DhText, error: *mut DhError) -> c_int {
    // SAFETY: as above.
    let (files, name) = unsafe { (files_of(files), name.to_string_lossy()) };
    answer(error, -1, || files.remove(&name).map(c_int::from))
}

unsafe extern "C" fn rename(files: *mut c_void, from: DhText, to: DhText, error: *mut DhError) -> c_int {
    // SAFETY: as above, for both texts.
    let (files, from, to) = unsafe { (files_of(files), from.to_string_lossy(), to.to_string_lossy()) };
    answer(error, -1, || files.rename(&from, &to).map(|()| 0))
}

unsafe extern "C" fn position(files: *mut c_void) -> u64 {
    // SAFETY: C++ calls with what `into_raw` gave it.
    let files = unsafe { files_of(files) };
    // To wait for that is an error.
    catch_unwind(AssertUnwindSafe(|| files.position())).unwrap_or(NO_POSITION)
}

unsafe extern "C" fn wait_durable(files: *mut c_void, position: u64, error: *mut DhError) -> c_int {
    // SAFETY: C++ calls with what `into_raw` gave it.
    let files = unsafe { files_of(files) };
    answer(error, -1, || match position {
        NO_POSITION => Err(EngineError::internal("the storage of databases has panicked before")),
        _ => files.wait_durable(position).map(|()| 0),
    })
}

unsafe extern "C" fn changed(files: *mut c_void, name: DhText) -> u64 {
    // SAFETY: C++ calls with what `into_raw` gave it, and with a text that is alive.
    let (files, name) = unsafe { (files_of(files), name.to_string_lossy()) };
    // As if it had changed just now.
    catch_unwind(AssertUnwindSafe(|| files.changed(&name))).unwrap_or(NO_POSITION)
}

unsafe extern "C" fn release(files: *mut c_void) {
    // SAFETY: C++ releases once what `into_raw` gave it.
    let files = unsafe { Box::from_raw(files.cast::<Files>()) };
    // A panic in a destructor must not travel into C++; the files are let go of either way.
    drop(catch_unwind(AssertUnwindSafe(move || drop(files))));
}

unsafe extern "C" fn length(file: *mut c_void, error: *mut DhError) -> i64 {
    // SAFETY: C++ calls with what `open` gave it.
    let file = unsafe { file_of(file) };
    answer(error, -1, || Ok(i64::try_from(file.length()?).unwrap_or(i64::MAX)))
}

unsafe extern "C" fn read(file: *mut c_void, offset: u64, target: *mut u8, count: u64, error: *mut DhError) -> i64 {
    // SAFETY: C++ calls with what `open` gave it, and with memory of `count` bytes, not null, that nobody else uses.
    let (file, target) = unsafe { (file_of(file), std::slice::from_raw_parts_mut(target, count as usize)) };
    answer(error, -1, || Ok(i64::try_from(file.read(offset, target)?).unwrap_or(i64::MAX)))
}

unsafe extern "C" fn write(file: *mut c_void, offset: u64, bytes: *const u8, count: u64, error: *mut DhError) -> c_int {
    // SAFETY: C++ calls with what `open` gave it, and with `count` bytes, not at null, that nobody changes meanwhile.
    let (file, bytes) = unsafe { (file_of(file), std::slice::from_raw_parts(bytes, count as usize)) };
    answer(error, -1, || file.write(offset, bytes).map(|()| 0))
}

unsafe extern "C" fn trim(file: *mut c_void, offset: u64, count: u64, error: *mut DhError) -> c_int {
    // SAFETY: C++ calls with what `open` gave it.
    let file = unsafe { file_of(file) };
    answer(error, -1, || file.trim(offset, count).map(|()| 0))
}

unsafe extern "C" fn truncate(file: *mut c_void, length: u64, error: *mut DhError) -> c_int {
    // SAFETY: C++ calls with what `open` gave it.
    let file = unsafe { file_of(file) };
    answer(error, -1, || file.truncate(length).map(|()| 0))
}

unsafe extern "C" fn sync(file: *mut c_void, error: *mut DhError) -> c_int {
    // SAFETY: C++ calls with what `open` gave it.
    let file = unsafe { file_of(file) };
    answer(error, -1, || file.sync().map(|()| 0))
}

unsafe extern "C" fn close(file: *mut c_void) {
    // SAFETY: C++ closes once what `open` gave it.
    let file = unsafe { Box::from_raw(file.cast::<File>()) };
    // As for the files.
    drop(catch_unwind(AssertUnwindSafe(move || drop(file))));
}
