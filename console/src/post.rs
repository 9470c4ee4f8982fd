//! Posts to programs of others. Promises: an address and what is sent with it are never told, since either may hold a secret; an answer says
//! whether it is worth to try again. Bounds: `TIMEOUT` for each attempt, `ANSWER_BYTES_MAX` of an answer.

use std::fmt;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// An address or a header, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub(crate) String);

impl From<String> for Hidden {
    fn from(text: String) -> Hidden {
        Hidden(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where something is posted to.
pub struct Target {
    agent: ureq::Agent,
    url: Hidden,
    headers: Vec<(String, Hidden)>,
}

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostError {
    /// Another attempt may work.
    Passing(String),
    /// The other side does not want it.
    Refused(String),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Passing(told) | Self::Refused(told)) = self;
        f.write_str(told)
    }
}

impl Target {
    pub fn new(url: Hidden, headers: Vec<(String, Hidden)>) -> Target {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        // A redirection would carry the secret elsewhere.
        Target { agent: config.max_redirects(0).build().into(), url, headers }
    }

    /// The answer's body, if it was taken.
    pub fn post(&self, content_type: &str, body: &[u8]) -> Result<Vec<u8>, PostError> {
        let mut request = self.agent.post(&self.url.0).header("content-type", content_type);
        for (name, value) in &self.headers {
            request = request.header(name, &value.0);
        }
        let mut response = request.send(body).map_err(|error| PostError::Passing(told(&error)))?;
        let status = response.status().as_u16();
        match status {
            200..=299 => {
                Ok(response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().unwrap_or_default())
            }
            408 | 429 | 500..=599 => Err(PostError::Passing(format!("it answers {status}"))),
            _ => Err(PostError::Refused(format!("it answers {status}"))),
        }
    }
}

/// An error without the address that it may quote.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        ureq::Error::HostNotFound => "its name is not known".to_owned(),
        ureq::Error::ConnectionFailed => "it cannot be reached".to_owned(),
        ureq::Error::Io(error) => format!("it cannot be reached: {}", error.kind()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "its address or a header is none".to_owned(),
        _ => "the exchange failed".to_owned(),
    }
}

/// When the next attempt is made.
#[derive(Debug, Default)]
pub struct Backoff {
    until: Option<Instant>,
    wait: Duration,
    pub attempts: u32,
}

impl Backoff {
    pub fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    pub fn failed(&mut self) {
        self.wait = (self.wait * 2).clamp(BACKOFF_FIRST, BACKOFF_MAX);
        self.until = Some(Instant::now() + self.wait);
        self.attempts += 1;
    }

    pub fn worked(&mut self) {
        *self = Backoff::default();
    }
}
