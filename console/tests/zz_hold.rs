#![allow(clippy::unwrap_used)]
mod common;
use common::*;
#[test]
fn hold() {
    let settings = settings("headwater");
    let empty = Console::start(&KafkaSettingsX::of(&settings));
    let writer = Writer::start(&settings);
    let newest = newest_window_us();
    write_shop(&writer, 60, newest - 59 * WINDOW_US);
    writer.alert(&firing(newest - 30_000_000));
    let console = Console::start(&settings);
    std::fs::write("/tmp/hw/console/url", format!("{}\n{}\n", console.url, empty.url)).unwrap();
    let mut next = newest + WINDOW_US;
    let mut seq = 0;
    while std::path::Path::new("/tmp/hw/console/hold").exists() {
        writer.agent(&heartbeat("node-1", seq, 0));
        if !std::path::Path::new("/tmp/hw/console/calm").exists() {
            writer.agent(&heartbeat("node-2", seq, 120));
        }
        seq += 1;
        if headwater_console::clock::now_us() > next + WINDOW_US
            && !std::path::Path::new("/tmp/hw/console/stall").exists()
        {
            write_shop(&writer, 1, next);
            next += WINDOW_US;
        }
        writer.flush();
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
struct KafkaSettingsX;
impl KafkaSettingsX {
    fn of(s: &headwater_kafka::KafkaSettings) -> headwater_kafka::KafkaSettings {
        let mut s = s.clone();
        s.prefix = "nothing.".into();
        s
    }
}
