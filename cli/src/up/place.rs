//! As whom what needs no root runs, and where it finds its files.
//!
//! In: who called `sudo`, whose the data is. Out: [`Place`], which puts programs into that user's hands. Promise: the agent alone runs as
//! root; processors, page, Kafka and registry run as the owner of the data, else as who called `sudo`, else as a number that is nobody's.
//! The sample system, whose PostgreSQL wants a name, is `nobody`'s in the last case.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use headwater_process::{Launch, Reach, Scratch, User};

use super::options::UpArgs;
use super::say::Say;

const PREFIX: &str = "headwater-up-";
/// What belongs to the sample system beside the program that starts it.
const SHOP: [&str; 7] =
    ["demo-shop", "shop-bank", "shop-catalog", "shop-orders", "shop-payments", "shop-shipping", "shop-load"];
const OURS: [&str; 2] = ["headwater", "headwater-processor"];

pub struct Place {
    /// None if this kernel lets root be nobody else, as in some containers.
    pub user: Option<User>,
    pub log_dir: PathBuf,
    /// Root's; what is in it belongs to who uses it.
    folder: Scratch,
    ours: Option<Reach>,
    shop: Option<(User, Reach)>,
    programs: PathBuf,
}

impl Place {
    /// `programs` is the folder of our programs.
    pub fn make(args: &UpArgs, programs: &Path, say: &Say) -> Result<Place> {
        let user = User::choose(args.data_dir.as_deref()).filter(|user| match user.act(|| ()) {
            Ok(()) => true,
            Err(error) => {
                say.warn(&format!("Everything runs as root: {error}"));
                false
            }
        });
        // All may enter it, as what is in it has several owners; none but root may list it.
        let folder = Scratch::create(PREFIX, 0o711)?;
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let ours = user.map(|user| Reach::of(user, programs, &files(&OURS))).transpose()?;
        let shop = match user.filter(|_| args.demo) {
            Some(user) => {
                let named = if user.has_name() { user } else { User::nobody().unwrap_or(user) };
                Some((named, Reach::of(named, programs, &files(&SHOP))?))
            }
            None => None,
        };
        let mut place = Place { user, log_dir: PathBuf::new(), folder, ours, shop, programs: programs.to_owned() };
        place.log_dir = match (&args.data_dir, user) {
            (Some(data_dir), Some(user)) => {
                user.take_over(data_dir)?;
                let logs = data_dir.join("logs");
                let making = || format!("make the folder {}", logs.display());
                user.act(|| fs::DirBuilder::new().recursive(true).mode(0o700).create(&logs))
                    .flatten()
                    .with_context(making)?;
                logs
            }
            (Some(data_dir), None) => {
                let logs = data_dir.join("logs");
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&logs);
                made.with_context(|| format!("make the folder {}", logs.display()))?;
                logs
            }
            (None, _) => place.subfolder("logs", user)?,
        };
        Ok(place)
    }

    /// A program that needs no root.
    pub fn plain(&self) -> impl Fn(Launch) -> Launch + Send + 'static {
        let user = self.user;
        move |launch| match user {
            Some(user) => launch.as_user(user).logging_as(user),
            None => launch,
        }
    }

    /// One that runs as root, and writes its log where the others do.
    pub fn root(&self) -> impl Fn(Launch) -> Launch + Send + 'static {
        let user = self.user;
        move |launch| match user {
            Some(user) => launch.logging_as(user),
            None => launch,
        }
    }

    /// The sample system's program.
    pub fn shop(&self) -> impl Fn(Launch) -> Launch + Send + 'static {
        let (root, user) = (self.root(), self.shop.as_ref().map(|(user, _)| *user));
        move |launch| match user {
            Some(user) => root(launch).as_user(user),
            None => launch,
        }
    }

    /// Where the agent keeps what Kafka does not take. Root's, as the agent is, and gone with this session, as its Kafka may be.
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Where the sample system makes its own folder.
    pub fn shop_folder(&self) -> Result<PathBuf> {
        self.subfolder("shop", self.shop.as_ref().map(|(user, _)| *user))
    }

    /// One of our programs, where its user finds it.
    pub fn program(&self, name: &str) -> PathBuf {
        let reach = if SHOP.contains(&name) { self.shop.as_ref().map(|(_, reach)| reach) } else { self.ours.as_ref() };
        reach.map_or(self.programs.as_path(), Reach::folder).join(name)
    }

    /// Settings that name a file, such as one with a password, which root alone can read: copies of such files for those who are to.
    pub fn readable(&self, variables: &mut [(String, String)]) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        let unreadable = |(name, value): &&mut (String, String)| {
            let path = Path::new(value);
            name.ends_with("_FILE") && path.is_file() && !user.can_read(path)
        };
        for (name, value) in variables.iter_mut().filter(unreadable) {
            let copy = self.folder.path().join(name.to_lowercase());
            let copying = || format!("copy {value} for user {}", user.uid);
            fs::copy(&*value, &copy).with_context(copying)?;
            fs::set_permissions(&copy, Permissions::from_mode(0o400)).with_context(copying)?;
            chown(&copy, Some(user.uid), Some(user.gid)).with_context(copying)?;
            *value = copy.display().to_string();
        }
        Ok(())
    }

    /// A file that the user of all programs can read, and nobody but root besides.
    pub fn private_file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        let writing = || format!("write {}", path.display());
        let mut file = File::options().write(true).create_new(true).mode(0o400).open(&path).with_context(writing)?;
        file.write_all(text.as_bytes()).with_context(writing)?;
        if let Some(user) = self.user {
            chown(&path, Some(user.uid), Some(user.gid)).with_context(writing)?;
        }
        Ok(path)
    }

    fn subfolder(&self, name: &str, owner: Option<User>) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        let making = || format!("make the folder {}", folder.display());
        fs::DirBuilder::new().mode(0o700).create(&folder).with_context(making)?;
        if let Some(owner) = owner {
            lchown(&folder, Some(owner.uid), Some(owner.gid)).with_context(making)?;
        }
        Ok(folder)
    }
}
