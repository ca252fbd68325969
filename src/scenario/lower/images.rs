//! Images: from a size or from layers to what a pull transfers and a disk holds.

use super::Context;
use crate::scenario::types::numbers::PositiveGigabytes;
use crate::scenario::types::world::{ImageSpec, LayerSpec, Registry};
use crate::scheduler::{Image, Layer};
use crate::sim::plan::RegistryPlan;
use crate::units::ImageId;

/// Unpacked bytes per compressed byte where they are not told: the presets' images are between 2.2 and 2.5.
const UNPACKED_PER_COMPRESSED: f64 = 2.3;

impl Context<'_> {
    /// The catalogue of images, in the order of the file.
    pub fn images(&mut self) -> Vec<Image> {
        let app = self.app;
        let mut images: Vec<Image> = Vec::new();
        for (name, spec) in &app.images.0 {
            let layers = self.layers(name, spec);
            for (index, layer) in layers.iter().enumerate() {
                let earlier = images.iter().flat_map(|image| &image.layers).chain(&layers[..index]);
                let known = earlier.into_iter().find(|other| other.digest == layer.digest);
                if known.is_some_and(|known| known != layer) {
                    let found = format!("layer `{}` with two sizes", super::super::node::clean(&layer.digest));
                    let index = index.to_string();
                    self.problem(
                        &["images", name, "layers", &index],
                        found,
                        "one size per digest",
                        "rename one of them",
                    );
                }
            }
            images.push(Image { name: name.clone(), layers });
        }
        images
    }

    fn layers(&mut self, name: &str, spec: &ImageSpec) -> Vec<Layer> {
        let path = ["images", name];
        match (&spec.gb, &spec.layers) {
            (Some(_), Some(_)) => {
                self.problem(&path, "both `gb` and `layers`".to_owned(), "one of them", "remove `gb`");
                Vec::new()
            }
            (None, None) => {
                self.problem(&path, "neither `gb` nor `layers`".to_owned(), "one of them", "add `gb: 5`");
                Vec::new()
            }
            (Some(gb), None) => vec![layer(name.to_owned(), *gb, spec.unpacked_gb)],
            (None, Some(layers)) => {
                if layers.is_empty() {
                    self.problem(&["images", name, "layers"], "no layer".to_owned(), "one or more", "add `- gb: 5`");
                }
                let digest =
                    |index: usize, layer: &LayerSpec| layer.digest.clone().unwrap_or_else(|| format!("{name}#{index}"));
                let lowered =
                    |(index, spec): (usize, &LayerSpec)| layer(digest(index, spec), spec.gb, spec.unpacked_gb);
                layers.iter().enumerate().map(lowered).collect()
            }
        }
    }

    /// The image of this name.
    pub fn image(&mut self, name: &str, path: &[&str]) -> Option<ImageId> {
        let app = self.app;
        let position = self.position("image", name, &app.images.names(), path)?;
        Some(ImageId(position as u32))
    }

    /// Bytes that an image takes on a disk.
    pub fn disk_bytes(&self, image: ImageId) -> u64 {
        self.images.get(image.index()).map_or(0, |image| image.layers.iter().map(|layer| layer.disk_bytes).sum())
    }

    /// Where images come from.
    pub fn registry(&mut self) -> RegistryPlan {
        let app = self.app;
        let Registry { gb_per_s, outages, failure_probability } = &app.registry;
        let mut intervals = Vec::new();
        for (index, outage) in outages.0.iter().enumerate() {
            if outage.until_s <= outage.from_s {
                let found = format!(
                    "an end at {} s, not after its beginning at {} s",
                    outage.until_s.get(),
                    outage.from_s.get()
                );
                let index = index.to_string();
                self.problem(&["registry", "outages", &index, "until_s"], found, "until_s after from_s", "");
            }
            intervals.push((outage.from_s.time(), outage.until_s.time()));
        }
        intervals.sort_unstable();
        RegistryPlan {
            bytes_per_s: gb_per_s.map_or(f64::INFINITY, |rate| rate.bytes_per_s()),
            outages: intervals,
            failure_probability: failure_probability.get(),
        }
    }
}

fn layer(digest: String, gb: PositiveGigabytes, unpacked: Option<PositiveGigabytes>) -> Layer {
    let unpacked_bytes =
        unpacked.map_or_else(|| (gb.get() * UNPACKED_PER_COMPRESSED * 1e9).round() as u64, PositiveGigabytes::bytes);
    Layer { digest, pull_bytes: gb.bytes(), disk_bytes: unpacked_bytes }
}
