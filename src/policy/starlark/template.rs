//! What `thermocline policy new` writes: a file that works at once, and says what it could do.

/// The scaling policy of the template.
const SCALING: &str = include_str!("template.star");
/// What `--keep-alive` adds.
const KEEP_ALIVE: &str = include_str!("template_keep_alive.star");

/// A template for a policy called `name`.
pub fn text(name: &str, keep_alive: bool) -> String {
    let text = if keep_alive { format!("{SCALING}\n\n{KEEP_ALIVE}") } else { SCALING.to_owned() };
    text.replace("NAME", name)
}
