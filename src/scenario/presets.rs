//! Workloads of the catalogue: published figures as endpoint settings. The table's own columns tell source and confidence.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// A row of the table.
pub struct Preset {
    fields: Vec<(String, String)>,
}

/// All of them, in the order of the table.
pub fn all() -> &'static [Preset] {
    static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| read(include_str!("presets.csv")));
    &PRESETS
}

/// The preset of this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    all().iter().find(|preset| preset.name() == name)
}

/// The layer below most images: PyTorch's runtime image, 3.03 GB compressed (AWS EKS best practices, AI/ML performance).
const BASE_LAYER: (&str, f64) = ("pytorch-runtime", 3.03);

impl Preset {
    /// Its name.
    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// Where its figures come from.
    pub fn source(&self) -> &str {
        self.text("source")
    }

    /// How sure they are.
    pub fn confidence(&self) -> &str {
        self.text("confidence")
    }

    /// Mean seconds of a job, as the table's check.
    pub fn typical_service_s(&self) -> f64 {
        self.number("typical_service_s")
    }

    /// Seconds of a start with the image on the host, as the table's check.
    pub fn cold_start_s(&self) -> f64 {
        self.number("cold_start_local_s")
    }

    /// Its settings as they would be typed in an endpoint.
    pub fn settings(&self) -> Value {
        json!({
            "gpu_classes": self.gpu_classes(),
            "gpus_per_worker": self.number("gpus_per_worker") as u32,
            "concurrency": self.number("max_concurrency") as u32,
            "start": self.start(),
            "service": self.service(),
        })
    }

    /// The layers of its image as they would be typed under `images`: a base that most images share, and its own.
    pub fn layers(&self) -> Value {
        let (gb, unpacked) = (self.number("image_gb"), self.number("image_gb_unpacked"));
        let (base, base_gb) = BASE_LAYER;
        if gb <= base_gb {
            return json!([{ "gb": gb, "unpacked_gb": unpacked }]);
        }
        let base_unpacked = 7.0;
        json!([
            { "digest": base, "gb": base_gb, "unpacked_gb": base_unpacked },
            { "gb": round(gb - base_gb), "unpacked_gb": round(unpacked - base_unpacked) },
        ])
    }

    fn gpu_classes(&self) -> Value {
        match self.text("gpu_class") {
            "A100-80GB" => json!(["AMPERE_80"]),
            "A100/H100-80GB" => json!(["AMPERE_80", "ADA_80_PRO"]),
            "H100-80GB" => json!(["ADA_80_PRO"]),
            "L4/RTX 4070" => json!(["AMPERE_24"]),
            // Stable Diffusion runs on 24 GB; the source does not tell its cards.
            "RTX 4090" | "undisclosed" => json!(["ADA_24"]),
            other => json!([other]),
        }
    }

    fn start(&self) -> Value {
        let resume = json!({
            "type": "lognormal_p95",
            "p50": self.number("warm_resume_p50_s"),
            "p95": self.number("warm_resume_p95_s"),
        });
        json!({
            "container_s": self.number("container_start_s"),
            "cuda_s": self.number("cuda_init_s"),
            "import_s": self.number("import_s"),
            "weights_s": self.weights(),
            "engine_s": self.number("engine_init_s"),
            "resume_s": resume,
        })
    }

    /// Weights from the host's disk. The measured service has no rate but two modes: weights in the host's cache, or not.
    fn weights(&self) -> Value {
        let rate = self.number("load_gb_per_s_local");
        if rate > 0.0 {
            return json!(round(self.number("weights_gb") / rate));
        }
        json!({ "type": "mixture", "parts": [
            { "weight": 0.36, "of": { "type": "lognormal", "median": 3.0, "sigma": 0.34 } },
            { "weight": 0.64, "of": { "type": "lognormal", "median": 31.0, "sigma": 0.32 } },
        ]})
    }

    fn service(&self) -> Value {
        match self.text("service_model") {
            "diffusion" => {
                let median = self.parameter("overhead_s") + self.parameter("steps") * self.parameter("s_per_step");
                drawn(median, self.parameter("sigma_ln"))
            }
            "audio" => {
                let median = self.parameter("overhead_s") + self.parameter("rtf") * self.parameter("audio_s_median");
                drawn(median, self.parameter("sigma_ln"))
            }
            "lognormal" => drawn(self.parameter("median_s"), self.parameter("sigma_ln")),
            "llm" => {
                let mut service = Map::new();
                service.insert("type".to_owned(), json!("tokens"));
                for name in ["overhead_s", "prefill_s_per_token", "decode_step_s", "decode_step_s_per_seq"] {
                    service.insert(name.to_owned(), json!(self.parameter(name)));
                }
                Value::Object(service)
            }
            // Requests in flight share the card: the published rate holds however many there are.
            _ => json!({
                "type": "drawn",
                "work_s": round(self.parameter("overhead_s") + self.parameter("s_per_request")),
                "sharing": { "type": "power", "exponent": 0 },
            }),
        }
    }

    /// One of the service model's parameters, by name; 0 if the model does not have it.
    fn parameter(&self, name: &str) -> f64 {
        let place = (1..=4).find(|place| self.text(&format!("p{place}_name")) == name);
        place.map_or(0.0, |place| self.number(&format!("p{place}")))
    }

    fn number(&self, column: &str) -> f64 {
        self.text(column).parse().unwrap_or(0.0)
    }

    fn text(&self, column: &str) -> &str {
        self.fields.iter().find(|(name, _)| name == column).map_or("", |(_, value)| value)
    }
}

fn drawn(median: f64, sigma: f64) -> Value {
    json!({ "type": "drawn", "work_s": { "type": "lognormal", "median": round(median), "sigma": sigma } })
}

/// To a tenth of a millisecond: sums of decimals print as decimals.
fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

fn read(text: &str) -> Vec<Preset> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> =
        reader.headers().expect("the shipped preset table has a header").iter().map(str::to_owned).collect();
    let preset = |record: csv::StringRecord| Preset {
        fields: columns.iter().cloned().zip(record.iter().map(str::to_owned)).collect(),
    };
    reader.records().map(|record| preset(record.expect("the shipped preset table is CSV"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_add_up_to_the_table_s_own_check() {
        for preset in all() {
            let start = preset.start();
            let stages = ["container_s", "cuda_s", "import_s", "weights_s", "engine_s"];
            let sum: f64 = stages.iter().filter_map(|stage| start[*stage].as_f64()).sum();
            if start["weights_s"].is_number() {
                assert!((sum - preset.cold_start_s()).abs() <= 0.12, "{}: {sum}", preset.name());
            } else {
                assert_eq!(preset.name(), "sd-service-measured");
            }
        }
    }

    #[test]
    fn drawn_services_have_the_table_s_typical_mean() {
        for preset in all() {
            let service = preset.service();
            let Some(median) = service["work_s"]["median"].as_f64() else { continue };
            let sigma = service["work_s"]["sigma"].as_f64().unwrap();
            let mean = median * libm::exp(sigma * sigma / 2.0);
            assert!((mean / preset.typical_service_s() - 1.0).abs() < 0.03, "{}: {mean}", preset.name());
        }
    }

    #[test]
    fn every_preset_has_an_image_and_a_class_with_a_price() {
        assert_eq!(all().len(), 13);
        for preset in all() {
            let classes = preset.gpu_classes();
            for class in classes.as_array().unwrap() {
                let class = class.as_str().unwrap();
                assert!(super::super::prices::table().iter().any(|row| row.class == class), "{class}");
            }
            let layers = preset.layers();
            let gb: f64 = layers.as_array().unwrap().iter().filter_map(|layer| layer["gb"].as_f64()).sum();
            assert!((gb - preset.number("image_gb")).abs() < 1e-9, "{}", preset.name());
        }
    }
}
