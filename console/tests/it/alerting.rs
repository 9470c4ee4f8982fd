//! Alerts reach a real Alertmanager, and a chat's webhook, which is the one thing that is played here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;

use headwater_console::alerting::AlertingSettings;
use headwater_console::server::ServerSettings;
use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::{Alert, AlertState};
use serde_json::Value;

use crate::common::{Console, PATIENCE, Writer, eventually, firing, named, newest_window_us, settings};

fn start_alertmanager(address: &str, folder: &std::path::Path) -> Child {
    let config = folder.join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
    let mut command = Command::new("prometheus-alertmanager");
    command.arg("--config.file").arg(&config).arg("--storage.path").arg(folder.join("data"));
    command.args(["--web.listen-address", address, "--cluster.listen-address="]);
    let child = Launch::new("alertmanager", command, folder.join("log")).spawn();
    child.expect("start prometheus-alertmanager: `cargo xtask setup` installs it")
}

/// The alerts that it has, each with its state.
fn alerts(address: &str) -> Option<Vec<Value>> {
    let mut response = ureq::get(format!("http://{address}/api/v2/alerts")).call().ok()?;
    serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
}

#[test]
fn an_alertmanager_knows_what_fires_and_what_ended_also_if_it_comes_late() {
    let settings = settings("alertmanager");
    let writer = Writer::start(&settings);
    let port = Port::free().unwrap();
    let address = port.address().to_string();
    let alerting =
        AlertingSettings { alertmanager_url: Some(format!("http://{address}/").into()), ..AlertingSettings::default() };
    let start_us = newest_window_us();
    writer.alert(&firing(start_us));
    writer.flush();
    let _console = Console::serve(&settings, ServerSettings { alerting, ..ServerSettings::default() });
    let folder = tempfile::tempdir().unwrap();
    let _alertmanager = start_alertmanager(&address, folder.path());
    let found = eventually("the Alertmanager is told", || alerts(&address)?.into_iter().next());
    assert_eq!(found["labels"]["alertname"], "error_rate");
    assert_eq!(
        (&found["labels"]["service_name"], &found["labels"]["client_name"]),
        (&"shop-payments".into(), &"shop-orders".into())
    );
    assert_eq!(found["labels"]["operation"], "POST /payments");
    assert!(found["labels"]["service_namespace"].is_null(), "an empty label would be refused");
    assert_eq!(
        (&found["status"]["state"], &found["annotations"]["summary"]),
        (&"active".into(), &firing(0).message.into())
    );

    writer.alert(&Alert { state: AlertState::Resolved, ..firing(start_us) });
    writer.flush();
    eventually("it is over there too", || alerts(&address)?.is_empty().then_some(()));
}

#[test]
fn a_chat_gets_one_message_for_many_changes_and_after_a_failure_the_same_again() {
    let settings = settings("slack");
    let writer = Writer::start(&settings);
    let (address, bodies) = webhook(&[503, 200, 200]);
    let alerting = AlertingSettings {
        slack_webhook_url: Some(format!("http://{address}/services/T0/B0/secret").into()),
        ..AlertingSettings::default()
    };
    assert!(!format!("{alerting:?}").contains("secret"));
    let _console = Console::serve(&settings, ServerSettings { alerting, ..ServerSettings::default() });
    let start_us = newest_window_us();
    let other = Alert {
        alert_id: "other".into(),
        service: named("redis"),
        message: "redis is slow".into(),
        ..firing(start_us)
    };
    writer.alert(&firing(start_us));
    writer.alert(&other);
    writer.flush();
    let refused = bodies.recv_timeout(PATIENCE).unwrap();
    let taken = bodies.recv_timeout(PATIENCE).unwrap();
    assert_eq!(taken, refused);
    let text: Value = serde_json::from_str(&taken).unwrap();
    assert_eq!(
        text["text"],
        "*redis*\n:red_circle: firing: redis is slow\n*shop-payments*\n:red_circle: firing: \
         shop-payments fails 25 % of POST /payments from shop-orders"
    );
    writer.alert(&Alert { state: AlertState::Resolved, ..other });
    writer.flush();
    let over = bodies.recv_timeout(PATIENCE).unwrap();
    assert!(over.contains("resolved: redis is slow") && !over.contains("payments"), "{over}");
}

/// Answers requests with these codes, one after the other, and hands their bodies on.
fn webhook(codes: &'static [u16]) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for code in codes {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {code} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.into_inner().write_all(answer.as_bytes()).unwrap();
            sender.send(String::from_utf8(body).unwrap()).unwrap();
        }
    });
    (address, receiver)
}
