//! Where a driver's files are: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `file:///DIR`.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::error::{Result, StorageError};

/// How long one request may take, and how long it is tried again inside the client.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// A place in some object storage.
#[derive(Clone, Debug)]
pub struct Location {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    /// For people.
    pub(crate) shown: String,
    /// How long a request may take, where the client has no limit of its own.
    pub(crate) limit: Option<Duration>,
}

impl Location {
    /// Finds the storage of a URL, with the credentials of the environment (`AWS_...`, `GOOGLE_...`, `AZURE_...`) or of
    /// the machine; a request is tried for `patience`. Sends nothing.
    ///
    /// # Errors
    /// It is no such URL, or credentials make no sense.
    pub fn parse(text: &str, patience: Duration) -> Result<Self> {
        Self::find(text, patience, true, RETRY_TIMEOUT)
    }

    /// The same of a place that others write: a directory that is not there is not made.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), or there is no such directory.
    pub fn parse_for_reading(text: &str, patience: Duration) -> Result<Self> {
        Self::find(text, patience, false, RETRY_TIMEOUT)
    }

    fn find(text: &str, patience: Duration, writes: bool, tried_for: Duration) -> Result<Self> {
        let retry = || retry(tried_for.min(patience));
        let url = Url::parse(text).map_err(|error| unknown(text, &error.to_string()))?;
        let failed = |error: object_store::Error| unknown(text, &error.to_string());
        let path = || Path::from_url_path(url.path()).map_err(|error| unknown(text, &error.to_string()));
        let (store, prefix): (Arc<dyn ObjectStore>, Path) = match url.scheme() {
            "file" => (local(text, &url, writes)?, Path::default()),
            "s3" | "s3a" => {
                let builder = AmazonS3Builder::from_env().with_url(text).with_retry(retry());
                (Arc::new(builder.with_client_options(client(text)).build().map_err(failed)?), path()?)
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(text).with_retry(retry());
                (Arc::new(builder.with_client_options(client(text)).build().map_err(failed)?), path()?)
            }
            "az" | "azure" | "abfs" | "abfss" => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(text).with_retry(retry());
                (Arc::new(builder.with_client_options(client(text)).build().map_err(failed)?), path()?)
            }
            other => return Err(unknown(text, &format!("{other}:// is no storage that a driver knows"))),
        };
        let limit = (url.scheme() == "file").then_some(REQUEST_TIMEOUT.min(patience));
        Ok(Self { store, prefix, shown: text.trim_end_matches('/').to_string(), limit })
    }

    /// The same for requests of a long piece of work, which is worth waiting for.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub(crate) fn parse_for_long(text: &str, patience: Duration) -> Result<Self> {
        Self::find(text, patience, false, patience)
    }

    /// A place in a storage that is there already.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, shown: &str) -> Self {
        Self { store, prefix, shown: shown.to_string(), limit: None }
    }

    /// For people.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// Whether a URL is a place, or in it, however either is written.
pub fn is_in_place(url: &str, place: &str) -> bool {
    match (bucket_and_path(url), bucket_and_path(place)) {
        (Some((bucket, path)), Some((other, prefix))) => bucket == other && path.prefix_matches(&prefix),
        _ => false,
    }
}

/// Azure's URLs may have the container before the account: abfss://CONTAINER@ACCOUNT...
fn bucket_and_path(url: &str) -> Option<(String, Path)> {
    let url = Url::parse(url).ok()?;
    let bucket = if url.username().is_empty() { url.host_str()? } else { url.username() };
    Some((bucket.to_string(), Path::from_url_path(url.path()).ok()?))
}

fn local(text: &str, url: &Url, writes: bool) -> Result<Arc<dyn ObjectStore>> {
    let path = url.to_file_path().map_err(|()| unknown(text, "it is no path of this machine"))?;
    if writes {
        std::fs::create_dir_all(&path)
            .map_err(|error| unknown(text, &format!("cannot make the directory: {error}")))?;
    }
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| unknown(text, &error.to_string()))?;
    Ok(Arc::new(store.with_fsync(true)))
}

fn unknown(text: &str, reason: &str) -> StorageError {
    StorageError::Location(format!(
        "{text} is no place that a driver can use: {reason}; use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, \
         az://CONTAINER/PREFIX or file:///DIR"
    ))
}

fn retry(retry_timeout: Duration) -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 1000, retry_timeout }
}

/// As the environment has it (`AWS_ALLOW_HTTP`), with times of ours.
fn client(text: &str) -> ClientOptions {
    let variable = if text.starts_with("s3") {
        "AWS_ALLOW_HTTP"
    } else if text.starts_with("gs") {
        "GOOGLE_ALLOW_HTTP"
    } else {
        "AZURE_ALLOW_HTTP"
    };
    let allow_http = std::env::var(variable).is_ok_and(|value| matches!(value.to_lowercase().as_str(), "1" | "true"));
    ClientOptions::new().with_allow_http(allow_http).with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_however_it_is_written() {
        for url in ["s3://b/own", "s3://b/own/", "s3a://b/own/log/1", "s3://b/x/../own/driver", "s3://b/%6Fwn/driver"] {
            assert!(is_in_place(url, "s3://b/own"), "{url}");
        }
        assert!(is_in_place("abfss://c@account.dfs.core.windows.net/p/x", "az://c/p"));
        for url in ["s3://b/ownership", "s3://other/own/x", "s3://b/", "nonsense"] {
            assert!(!is_in_place(url, "s3://b/own"), "{url}");
        }
    }

    #[test]
    fn other_places_are_refused() {
        for text in ["/tmp/x", "http://host/x", "s3:", "file://host/x"] {
            let error = Location::parse(text, RETRY_TIMEOUT).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("use s3://BUCKET/PREFIX"), "{error}");
        }
    }
}
