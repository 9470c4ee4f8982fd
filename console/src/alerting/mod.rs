//! Tells others of alerts: an Alertmanager, and a chat that takes Slack's webhooks.
//!
//! In: the newest state of each alert, as the topic `alerts` has it. Out: HTTP. Promises: nothing is told before all was read that was
//! there; nothing that is told waits for another destination. Bounds: those of the alerts that the console keeps, and of the attempts.

mod alertmanager;
mod slack;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_settings::{Key, Values};

use crate::clock::now_us;
use crate::feed::Feed;
use crate::live::AlertView;
use crate::post::{Hidden, Target};

const TICK: Duration = Duration::from_millis(500);

/// Who is told.
#[derive(Debug, Clone, Default)]
pub struct AlertingSettings {
    pub alertmanager_url: Option<Hidden>,
    pub slack_webhook_url: Option<Hidden>,
}

pub const ALERTMANAGER: Key = Key::optional(
    "alerts.alertmanager_url",
    "Address of an Alertmanager that is told of alerts, such as http://alertmanager:9093",
);
pub const SLACK: Key = Key::optional(
    "alerts.slack_webhook_url",
    "Webhook of Slack, or of a chat that takes the same, that is told of alerts: a secret, in the environment or a file alone",
);
pub const SLACK_FILE: Key =
    Key::optional("alerts.slack_webhook_url_file", "File that holds the address of the webhook");

impl AlertingSettings {
    /// Reads the settings; problems are noted in `values`.
    pub fn read(values: &mut Values) -> AlertingSettings {
        let alertmanager_url = values.optional("alerts.alertmanager_url");
        let alertmanager_url = url(values, "alerts.alertmanager_url", alertmanager_url);
        if alertmanager_url.as_ref().is_some_and(|url| url.0.contains('@')) {
            values.problem("alerts.alertmanager_url", "a user in an address is not supported");
        }
        values.refuse_flag("alerts.slack_webhook_url", "alerts.slack_webhook_url_file");
        let slack = values.secret("alerts.slack_webhook_url", "alerts.slack_webhook_url_file");
        AlertingSettings { alertmanager_url, slack_webhook_url: url(values, "alerts.slack_webhook_url", slack) }
    }
}

/// A problem does not quote what may be a secret.
pub fn url(values: &mut Values, name: &'static str, text: Option<String>) -> Option<Hidden> {
    let text = text?;
    let is_url = ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    if !is_url || text.chars().any(char::is_whitespace) {
        values.problem(name, "it is no address that begins with http:// or https://");
    }
    Some(Hidden(text))
}

/// What each destination is.
trait Destination: Send + 'static {
    /// A moment went by. `alerts` are all that are known.
    fn tick(&mut self, alerts: &[AlertView], now_us: i64);
}

/// Starts a thread for each destination. They end with the feed.
///
/// # Errors
/// If the system gives no thread.
pub fn start(feed: &Arc<Feed>, settings: &AlertingSettings) -> Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    if let Some(url) = &settings.alertmanager_url {
        let url = Hidden(format!("{}/api/v2/alerts", url.0.trim_end_matches('/')));
        threads.push(run(feed, "alertmanager", alertmanager::Alertmanager::new(Target::new(url, Vec::new())))?);
    }
    if let Some(url) = &settings.slack_webhook_url {
        threads.push(run(feed, "slack", slack::Slack::new(Target::new(url.clone(), Vec::new())))?);
    }
    Ok(threads)
}

fn run(feed: &Arc<Feed>, name: &str, mut destination: impl Destination) -> Result<JoinHandle<()>> {
    let feed = Arc::clone(feed);
    let work = move || {
        while !feed.stopped() {
            // Of alerts that are not read any more nobody knows whether they still fire.
            if feed.knows_alerts() {
                destination.tick(&feed.snapshot().alerts().alerts, now_us());
            }
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name(format!("alerts-{name}")).spawn(work).context("start a thread for alerts")
}
