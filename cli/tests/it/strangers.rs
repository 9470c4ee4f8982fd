//! Who is not the user of a running `headwater up` gets nothing out of its Kafka and its registry; root and that user do.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use headwater_process::{Reach, User};
use serde_json::Value;

/// The number of a user that nobody is.
const STRANGER: User = User { uid: 60_799, gid: 60_799 };
/// What is found without a password takes a moment, what is not found as long as kcat waits.
const KCAT_WAITS_S: &str = "10";

/// `ready` is what the file of `--ready-file` says.
pub fn get_nothing(ready: &Value, up_folder: &Path) {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{ready}")).to_owned();
    let (brokers, registry_url) = (text(&ready["brokers"]), text(&ready["registry_url"]));
    let [password_file, client_file] = ["password_file", "client_file"].map(|name| text(&ready["access"][name]));

    // A user without the password, with clients of his own.
    let listed = kcat(&["-L", "-b", &brokers]).uid(STRANGER.uid).gid(STRANGER.gid).output().unwrap();
    assert!(!listed.status.success() && !shown(&listed).contains("headwater.edges"), "{}", shown(&listed));
    for path in ["/apis/ccompat/v7/subjects", "/apis/registry/v3/system/info", "/metrics", "/"] {
        let url = format!("{}{path}", registry_url.trim_end_matches("/apis/ccompat/v7"));
        let answer = ureq::get(&url).call();
        assert!(matches!(answer, Err(ureq::Error::StatusCode(401))), "{url}: {answer:?}");
    }

    // Ours, which find where Kafka is, and may not know how to get in.
    let program = Path::new(env!("CARGO_BIN_EXE_headwater"));
    let reach = Reach::of(STRANGER, program.parent().unwrap(), &["headwater".into()]).unwrap();
    let ours = |command: &str| {
        let mut ours = Command::new(reach.folder().join("headwater"));
        ours.arg(command).arg("--up-folder").arg(up_folder).uid(STRANGER.uid).gid(STRANGER.gid).current_dir("/");
        ours.output().unwrap()
    };
    let refused = shown(&ours("topics"));
    assert!(refused.contains("alone into its Kafka and registry: run this with sudo"), "{refused}");
    let looked = shown(&ours("doctor"));
    assert!(looked.contains("alone into its Kafka") && looked.contains("calls of sockets are seen by"), "{looked}");

    // The password is nowhere that he can read: in no file, and in no argument, log or variable of anybody.
    let password = fs::read_to_string(&password_file).unwrap();
    assert_eq!(password.trim().len(), 32);
    let logs = text(&ready["log_dir"]);
    for path in [&password_file, &client_file, &logs].map(Path::new) {
        assert!(!STRANGER.can_read(path), "{}", path.display());
    }
    let mut settings_with_it = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let said = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(password.trim()), "{:?} has it as an argument", process.path());
        for settings in said.split(['\0', '=']).filter(|word| word.ends_with(".properties")) {
            if fs::read_to_string(settings).is_ok_and(|text| text.contains(password.trim())) {
                settings_with_it += 1;
                assert!(!STRANGER.can_read(Path::new(settings)), "{settings}");
            }
        }
    }
    assert_eq!(settings_with_it, 2, "Kafka's and the registry's");
    for log in fs::read_dir(&logs).unwrap().flatten() {
        let said = fs::read(log.path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&said).contains(password.trim()), "{:?} has it", log.path());
    }

    // Who has it is let in.
    let listed = kcat(&["-L", "-F", &client_file]).output().unwrap();
    assert!(shown(&listed).contains("headwater.edges"), "{}", shown(&listed));
    let url = registry_url.replace("http://", &format!("http://headwater:{}@", password.trim()));
    let subjects = ureq::get(format!("{url}/subjects")).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(subjects.contains("headwater.edges-value"), "{subjects}");
}

fn kcat(args: &[&str]) -> Command {
    let mut kcat = Command::new("kcat");
    kcat.args(args).args(["-m", KCAT_WAITS_S]).current_dir("/").env("HOME", "/nonexistent");
    kcat
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
