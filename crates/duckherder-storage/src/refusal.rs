//! What a storage says that has no such bucket, or does not let us in.
//!
//! The client has kinds of errors for it, but not for all requests: of a LIST, or of a token that it asks for, whatever is
//! wrong is `Generic`, and what the server has said is text further down.

use object_store::Error;

/// How the client's text begins where the server has answered with an error: `STATUS: BODY` follows.
const ANSWERED: &str = "Server returned non-2xx status code: ";
/// S3 and Google, Azure, Azure with directories.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"];
const NO_BUCKET_TEXT: &str = "The specified bucket does not exist";
/// What S3 says of a session's credentials with another status (400).
const NO_CREDENTIALS: [&str; 2] = ["ExpiredToken", "InvalidToken"];
/// Of an answer that is none of a storage's, as a proxy's page.
const MOST_CHARACTERS: usize = 200;

/// What it comes to, for people; nothing, if the request failed for another reason.
pub fn of(error: &Error) -> Option<String> {
    let answer = answer(error);
    let (status, body) = answer.as_deref().and_then(|answer| answer.split_once(':')).unwrap_or_default();
    let code = element(body, "Code").unwrap_or_default();
    let is_status = |number: &str| status.starts_with(number);
    let details = || format!("({status}: {})", details(body));
    if is_status("404") && (NO_BUCKET.contains(&code) || body.contains(NO_BUCKET_TEXT)) {
        return Some(format!("there is no such bucket: make it, or use another place {}", details()));
    }
    if is_status("401") || is_status("403") || (is_status("400") && NO_CREDENTIALS.contains(&code)) {
        return Some(format!("the storage refuses the credentials {}", details()));
    }
    matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }).then(|| error.to_string())
}

/// What the server has said.
fn answer(error: &Error) -> Option<String> {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source());
    causes.map(|cause| cause.to_string()).find_map(|text| text.strip_prefix(ANSWERED).map(str::to_string))
}

fn details(body: &str) -> String {
    let parts: Vec<_> =
        ["Code", "Message"].iter().filter_map(|name| element(body, name)).filter(|text| !text.is_empty()).collect();
    if parts.is_empty() {
        return body.trim().chars().take(MOST_CHARACTERS).collect();
    }
    parts.join(", ")
}

/// The first line of an element's text.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    text.lines().next()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("Error performing list request: {0}")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("Server returned non-2xx status code: {0}")]
    struct Inner(String);

    /// As of a LIST.
    fn generic(answer: &str) -> Error {
        Error::Generic { store: "S3", source: Box::new(Outer(Inner(answer.to_string()))) }
    }

    /// As of a GET.
    fn not_found(answer: &str) -> Error {
        Error::NotFound { path: "log/1".to_string(), source: Box::new(Inner(answer.to_string())) }
    }

    #[test]
    fn a_bucket_that_is_not_there() {
        let s3 = "404 Not Found: <?xml version='1.0'?>\n<Error><Code>NoSuchBucket</Code><Message>The specified bucket does \
                  not exist</Message><BucketName>b</BucketName></Error>";
        let expected = "there is no such bucket: make it, or use another place (404 Not Found: NoSuchBucket, The specified \
                        bucket does not exist)";
        assert_eq!(of(&generic(s3)).unwrap(), expected);
        assert_eq!(of(&not_found(s3)).unwrap(), expected);
        let azure = "404 Not Found: <Error><Code>ContainerNotFound</Code><Message>The specified container does not exist.\n\
                     RequestId:1</Message></Error>";
        assert!(of(&generic(azure)).unwrap().ends_with("ContainerNotFound, The specified container does not exist.)"));
        assert!(of(&generic("404 Not Found: The specified bucket does not exist.")).is_some());
    }

    #[test]
    fn an_object_that_is_not_there_is_no_refusal() {
        let key = "404 Not Found: <Error><Code>NoSuchKey</Code><Key>NoSuchBucket/log/1</Key></Error>";
        assert_eq!(of(&not_found(key)), None);
        assert_eq!(of(&generic("404 Not Found: ")), None);
    }

    #[test]
    fn credentials_that_are_refused() {
        let wrong = "403 Forbidden: <Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>";
        let expected = "the storage refuses the credentials (403 Forbidden: InvalidAccessKeyId, No such key.)";
        assert_eq!(of(&generic(wrong)).unwrap(), expected);
        assert_eq!(
            of(&generic("401 Unauthorized: who?")).unwrap(),
            "the storage refuses the credentials (401 Unauthorized: who?)"
        );
        assert!(of(&generic("400 Bad Request: <Error><Code>ExpiredToken</Code></Error>")).is_some());
    }

    #[test]
    fn what_may_pass_is_no_refusal() {
        for answer in
            ["503 Service Unavailable: <Error><Code>SlowDown</Code></Error>", "400 Bad Request: 403", "nonsense"]
        {
            assert_eq!(of(&generic(answer)), None, "{answer}");
        }
        let unanswered = Error::Generic { store: "S3", source: "connection refused: 403".into() };
        assert_eq!(of(&unanswered), None);
    }
}
