//! The templates of the Helm chart, made from what Kustomize makes of overlays/chart.
//!
//! In: YAML, in which `<< EXPRESSION >>` is a whole value that a user may set and the annotation `CONDITION` names the value that asks for an
//! object. Out: the text of each template, by the name of its file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::kustomize;

/// The annotation of objects that are not always wanted.
const CONDITION: &str = "headwater.io/chart-if: ";
const HEADER: &str = "{{- /* Made from k8s/overlays/chart by `cargo run -p headwater-manifests`. */ -}}\n";

/// All templates, by file name.
///
/// # Errors
/// What Kustomize says, and objects that this cannot turn into templates.
pub fn templates() -> Result<BTreeMap<String, String>> {
    let mut templates: BTreeMap<String, String> = BTreeMap::new();
    for document in kustomize("overlays/chart")?.split("\n---\n") {
        let file = format!("{}.yaml", value(document, "kind: ").context("an object without kind")?.to_lowercase());
        let text = templates.entry(file).or_insert_with(|| HEADER.to_owned());
        text.push_str(&template(document)?);
    }
    Ok(templates)
}

fn template(document: &str) -> Result<String> {
    let condition = value(document.trim_start(), CONDITION);
    // An annotation of an object of ours stands alone: the line before it goes too.
    let mut lines: Vec<String> = Vec::new();
    for line in document.trim_end().lines() {
        if line.trim_start().starts_with(CONDITION) {
            let above = lines.pop();
            ensure!(above.as_deref() == Some("  annotations:"), "the annotation {CONDITION}does not stand alone");
            continue;
        }
        let line = line.replace("namespace: headwater", "namespace: << .Release.Namespace >>");
        // What looks like a template in the source, such as a legend of a dashboard, is none.
        lines.push(line.replace("{{", "{{ \"{{\" }}"));
    }
    let body = lines.join("\n").replace("<<", "{{").replace(">>", "}}");
    Ok(match condition {
        Some(condition) => format!("{{{{- if {condition} }}}}\n---\n{body}\n{{{{- end }}}}\n"),
        None => format!("---\n{body}\n"),
    })
}

/// What stands behind a key in the first line that begins with it.
fn value<'a>(document: &'a str, key: &str) -> Option<&'a str> {
    document.lines().find_map(|line| line.trim_start().strip_prefix(key)).map(str::trim)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_become_templates_and_what_only_looks_like_one_is_kept() {
        let text = template("kind: X\nspec:\n  a: << toJson .Values.a >>\n  b: '{{node}}'").unwrap();
        assert_eq!(text, "---\nkind: X\nspec:\n  a: {{ toJson .Values.a }}\n  b: '{{ \"{{\" }}node}}'\n");
    }

    #[test]
    fn an_object_may_have_a_condition() {
        let text =
            template("kind: X\nmetadata:\n  annotations:\n    headwater.io/chart-if: .Values.x\n  name: x").unwrap();
        assert_eq!(text, "{{- if .Values.x }}\n---\nkind: X\nmetadata:\n  name: x\n{{- end }}\n");
    }
}
