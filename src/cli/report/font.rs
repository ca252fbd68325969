//! A font for pictures made of pixels: the one that is named, or one of the system's.

use std::path::{Path, PathBuf};

use crate::cli::Failure;

/// Where systems keep fonts; what begins with `~` lies in the user's folder.
const FOLDERS: [&str; 8] = [
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:\\Windows\\Fonts",
    "/run/host/fonts",
];

/// Fonts that read well in charts, best first.
const WANTED: [&str; 6] =
    ["DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf", "Verdana.ttf"];

/// How deep folders of fonts are nested at most.
const DEPTH: usize = 5;

/// The bytes of a font, kept until the process ends (the drawing library wants them so), and its path.
pub(super) fn load(named: Option<&Path>) -> Result<(&'static [u8], String), Failure> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => found(&folders()).ok_or_else(none)?,
    };
    let bytes = std::fs::read(&path).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
    Ok((Box::leak(bytes.into_boxed_slice()), path.display().to_string()))
}

fn none() -> Failure {
    Failure::Input(format!(
        "PNG pictures need a TrueType font, and there is none in {}; install one (Debian, Ubuntu: apt-get install fonts-dejavu-core; \
         Fedora: dnf install dejavu-sans-fonts; Alpine: apk add font-dejavu), name a file with --font, or ask for --format svg, which \
         needs none",
        FOLDERS[..4].join(", ")
    ))
}

fn folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let place = |folder: &&str| match folder.strip_prefix("~/") {
        Some(rest) => home.as_ref().map(|home| home.join(rest)),
        None => Some(PathBuf::from(folder)),
    };
    FOLDERS.iter().filter_map(place).collect()
}

/// The best wanted font, or else the first plain one by path.
fn found(folders: &[PathBuf]) -> Option<PathBuf> {
    let mut all = Vec::new();
    folders.iter().for_each(|folder| collect(folder, DEPTH, &mut all));
    all.sort();
    let called = |name: &str| all.iter().find(|path| path.file_name().is_some_and(|file| file == name)).cloned();
    WANTED.iter().find_map(|name| called(name)).or_else(|| {
        let plain = |path: &&PathBuf| path.to_string_lossy().contains("Regular");
        all.iter().find(plain).or(all.first()).cloned()
    })
}

fn collect(folder: &Path, depth: usize, all: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, all);
            }
        } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("ttf")) {
            all.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_fonts_come_first_and_none_is_said_clearly() {
        let folder = std::env::temp_dir().join(format!("thermocline-fonts-{}", std::process::id()));
        let inner = folder.join("truetype");
        std::fs::create_dir_all(&inner).unwrap();
        assert_eq!(found(std::slice::from_ref(&folder)), None);
        std::fs::write(inner.join("Aaa.ttf"), "").unwrap();
        assert_eq!(found(std::slice::from_ref(&folder)), Some(inner.join("Aaa.ttf")));
        std::fs::write(inner.join("Other-Regular.TTF"), "").unwrap();
        assert_eq!(found(std::slice::from_ref(&folder)), Some(inner.join("Other-Regular.TTF")));
        std::fs::write(inner.join("DejaVuSans.ttf"), "").unwrap();
        assert_eq!(found(std::slice::from_ref(&folder)), Some(inner.join("DejaVuSans.ttf")));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(none().to_string().contains("fonts-dejavu-core"));
        assert!(load(Some(&folder)).unwrap_err().to_string().contains("thermocline-fonts"));
    }
}
