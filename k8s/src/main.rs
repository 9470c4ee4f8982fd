//! Writes the templates of the Helm chart anew.

use anyhow::{Context, Result};
use headwater_manifests::{chart, folder};

fn main() -> Result<()> {
    let templates = folder().join("chart/templates");
    for file in std::fs::read_dir(&templates).with_context(|| format!("list {}", templates.display()))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    for (name, text) in chart::templates()? {
        std::fs::write(templates.join(&name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}
