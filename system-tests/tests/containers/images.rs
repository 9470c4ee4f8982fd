//! Images under the names of docker-compose.yml, of this machine's programs and the libraries that they load.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use headwater_process::program;

use crate::engine::{Engine, succeed};

/// An image that is put together in a folder.
pub struct Image<'a> {
    engine: &'a Engine,
    root: tempfile::TempDir,
}

impl<'a> Image<'a> {
    /// With a shell and its tools.
    pub fn new(engine: &'a Engine) -> Image<'a> {
        let image = Image { engine, root: tempfile::tempdir().unwrap() };
        for folder in ["bin", "etc", "tmp", "var/tmp", "usr/local/bin"] {
            std::fs::create_dir_all(image.path(folder)).unwrap();
        }
        std::fs::copy("/bin/busybox", image.path("bin/busybox")).expect("install busybox-static");
        for applet in succeed(Command::new("/bin/busybox").arg("--list")).lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", image.path("bin").join(applet)).unwrap();
        }
        succeed(Command::new("chmod").arg("1777").args([image.path("tmp"), image.path("var/tmp")]));
        image
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    /// A program, and the libraries that it loads where it looks for them.
    pub fn program(self, program: &Path, inside: &str) -> Image<'a> {
        let to = self.path(inside);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(program, &to).unwrap();
        self.libraries_of(program)
    }

    /// A folder. Links become what they lead to, and those that lead nowhere are left out.
    pub fn folder(self, from: &Path, inside: &str) -> Image<'a> {
        let to = self.path(inside);
        std::fs::create_dir_all(&to).unwrap();
        let copy = "tar -C \"$0\" --dereference --ignore-failed-read -c . | tar -C \"$1\" -x";
        succeed(Command::new("sh").arg("-c").arg(copy).arg(from).arg(&to));
        self
    }

    pub fn text(self, inside: &str, text: &str) -> Image<'a> {
        std::fs::create_dir_all(self.path(inside).parent().unwrap()).unwrap();
        std::fs::write(self.path(inside), text).unwrap();
        self
    }

    /// A library that nothing is linked to and something loads, from where this machine has C's own.
    fn library_beside_c(self, name: &str) -> Image<'a> {
        let listed = succeed(Command::new("ldd").arg("/bin/sh"));
        let c_library =
            listed.split_whitespace().find(|word| word.ends_with("/libc.so.6")).expect("a shell has libc.so.6");
        let library = Path::new(c_library).with_file_name(name);
        let to = self.path(library.to_str().unwrap().trim_start_matches('/'));
        if !to.exists() {
            std::fs::copy(&library, to).unwrap_or_else(|error| panic!("copy {}: {error}", library.display()));
        }
        self
    }

    pub fn libraries_of(self, program: &Path) -> Image<'a> {
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = self.path(library.trim_start_matches('/'));
            if !to.exists() {
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(library, to).unwrap();
            }
        }
        self
    }

    /// Gives it to the engine. `changes` are lines of a Dockerfile.
    pub fn import(self, name: &str, changes: &[&str]) {
        let mut tar = Command::new("tar");
        tar.args(["--create", "--owner=0", "--group=0", "--directory"]).arg(self.root.path()).arg(".");
        let mut packed = tar.stdout(Stdio::piped()).spawn().unwrap();
        let mut import = self.engine.command("docker");
        import.arg("import").args(changes.iter().flat_map(|change| ["--change", change])).args(["-", name]);
        succeed(import.stdin(packed.stdout.take().unwrap()));
        assert!(packed.wait().unwrap().success());
    }
}

/// Kafka and the registry, with this machine's Java.
pub fn kafka_and_registry(engine: &Engine) {
    let artifacts = headwater_stack::Artifacts::ensure(&headwater_stack::Progress::default()).unwrap();
    let with_java = || {
        let java = std::fs::canonicalize("/usr/bin/java").unwrap();
        let home = java.parent().unwrap().parent().unwrap().to_owned();
        let inside = home.display().to_string();
        let inside = inside.trim_start_matches('/');
        let mut image = Image::new(engine).folder(&home, inside).libraries_of(&java);
        for library in
            ["lib/server/libjvm.so", "lib/libnet.so", "lib/libnio.so", "lib/libzip.so", "lib/libmanagement.so"]
        {
            image = image.libraries_of(&home.join(library));
        }
        // What Kafka's jars unpack and load, such as zstd, asks for these.
        for library in ["libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1", "libstdc++.so.6"] {
            image = image.library_beside_c(library);
        }
        std::os::unix::fs::symlink(&java, image.path("bin/java")).unwrap();
        image
    };
    with_java()
        .folder(&artifacts.kafka_folder(), "opt/kafka/libs")
        .text("bin/start", KAFKA_START)
        .import("apache/kafka:4.3.1", &["ENTRYPOINT [\"/bin/sh\", \"/bin/start\"]", "ENV PATH=/bin"]);
    let jar = artifacts.registry_jar();
    with_java().folder(jar.parent().unwrap(), "opt/registry").import(
        "apicurio/apicurio-registry:3.0.9",
        &[
            &format!(
                "ENTRYPOINT [\"/bin/sh\", \"-c\", \"exec java $JAVA_OPTIONS -jar /opt/registry/{}\"]",
                jar.file_name().unwrap().display()
            ),
            "ENV PATH=/bin",
        ],
    );
}

/// As Kafka's own image: each variable is a line of the settings.
const KAFKA_START: &str = r#"set -e
env | grep '^KAFKA_' | grep -v '^KAFKA_HEAP_OPTS=' | while IFS= read -r line; do
  name=$(echo "${line%%=*}" | cut -c7- | tr 'A-Z_' 'a-z.')
  echo "$name=${line#*=}"
done > /tmp/server.properties
echo log.dirs=/tmp/kafka >> /tmp/server.properties
java -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --ignore-formatted --cluster-id 5L6g3nShT-eMCtK--X86sw --config /tmp/server.properties
exec java $KAFKA_HEAP_OPTS -cp '/opt/kafka/libs/*' kafka.Kafka /tmp/server.properties
"#;

/// Our own programs, as they were built for the tests.
pub fn headwater(engine: &Engine) {
    let built = |name: &str| program(name).unwrap_or_else(|error| panic!("{error}"));
    let mut image = Image::new(engine);
    for name in ["headwater", "headwater-agent", "headwater-processor"] {
        image = image.program(&built(name), &format!("usr/local/bin/{name}"));
    }
    let path = "ENV PATH=/usr/local/bin:/bin";
    image.import("headwater:0.1.0", &["USER 65534:65534", path]);
    Image::new(engine)
        .program(&built("sample-service"), "usr/local/bin/sample-service")
        .text("etc/nsswitch.conf", "hosts: files dns\n")
        .import("headwater-sample:0.1.0", &["USER 65534:65534", path]);
}

pub fn prometheus(engine: &Engine) {
    let image = Image::new(engine).program(Path::new("/usr/bin/prometheus"), "bin/prometheus");
    std::fs::create_dir(image.path("prometheus")).unwrap();
    succeed(Command::new("chmod").arg("777").arg(image.path("prometheus")));
    image.import("prom/prometheus:v3.5.0", &["ENTRYPOINT [\"/bin/prometheus\"]", "USER 65534:65534", "ENV PATH=/bin"]);
}
