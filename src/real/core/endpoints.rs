//! Endpoints: their definitions by release, created, changed and deleted, from the application file or the management API.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::super::config::{EndpointConfig, EndpointKind};
use super::super::ids;
use super::super::launcher::repository;
use super::super::store::{EndpointRow, Write};
use super::api::{EndpointView, Refusal};
use super::handle::Answer;
use super::{Core, reply};
use crate::policy::schedule;
use crate::scheduler::{Event, Image, Scheduler};
use crate::units::{EndpointId, ImageId};

/// One endpoint.
pub(super) struct Definition {
    /// The scheduler's number.
    pub number: EndpointId,
    /// Current definition.
    pub config: EndpointConfig,
    /// Current release.
    pub version: u32,
    /// Definition by release: workers of older releases are started with theirs.
    pub releases: BTreeMap<u32, (u64, EndpointConfig)>,
    /// From the application file.
    pub from_file: bool,
    /// Deleted: its id is never used again.
    pub gone: bool,
}

/// Keys of the named values that hold what an image's reference means: this and its number.
pub(super) const PIN: &str = "digest/";

/// All endpoints ever, and the images known.
#[derive(Default)]
pub(super) struct Definitions {
    all: Vec<Definition>,
    by_id: BTreeMap<String, usize>,
    /// The images that the scheduler knows, by number.
    pub images: Vec<Image>,
    pins: BTreeMap<u32, String>,
}

impl Definitions {
    /// As recovered: the rows of all releases, and the images that the scheduler knows.
    pub fn recover(rows: Vec<EndpointRow>, images: Vec<Image>) -> Definitions {
        let mut definitions = Definitions { images, ..Definitions::default() };
        for row in rows {
            definitions.set(row.number, row.version, row.at_ms, row.config, row.from_file);
            if row.gone {
                definitions.all[row.number as usize].gone = true;
            }
        }
        definitions
    }

    fn set(&mut self, number: u32, version: u32, at_ms: u64, config: EndpointConfig, from_file: bool) {
        let at = number as usize;
        if at == self.all.len() {
            self.by_id.insert(config.id.clone(), at);
            self.all.push(Definition {
                number: EndpointId(number),
                releases: BTreeMap::from([(version, (at_ms, config.clone()))]),
                config,
                version,
                from_file,
                gone: false,
            });
        } else if let Some(definition) = self.all.get_mut(at) {
            definition.releases.insert(version, (at_ms, config.clone()));
            (definition.config, definition.version, definition.from_file) = (config, version, from_file);
        }
    }

    /// An endpoint that is not deleted.
    pub fn get(&self, id: &str) -> Option<&Definition> {
        self.by_id.get(id).map(|at| &self.all[*at]).filter(|definition| !definition.gone)
    }

    /// Every endpoint that is not deleted, by number.
    pub fn alive(&self) -> impl Iterator<Item = &Definition> {
        self.all.iter().filter(|definition| !definition.gone)
    }

    /// The scheduler's number of an endpoint; deleted ones too, whose workers still finish their jobs.
    pub fn number(&self, id: &str) -> Option<EndpointId> {
        self.by_id.get(id).map(|at| self.all[*at].number)
    }

    /// An endpoint by number.
    pub fn by_number(&self, number: EndpointId) -> Option<&Definition> {
        self.all.get(number.index())
    }

    /// A queue endpoint.
    pub fn queue(&self, id: &str) -> Result<EndpointId, Refusal> {
        self.of_kind(id, EndpointKind::Queue)
    }

    /// An endpoint whose workers take requests at a port of theirs: a load-balancing one, or a queue's with an OpenAI port.
    pub fn with_port(&self, id: &str) -> Result<EndpointId, Refusal> {
        let definition = self.get(id).ok_or(Refusal::UnknownEndpoint)?;
        let direct =
            definition.config.kind == EndpointKind::LoadBalancer || definition.config.run.openai_port.is_some();
        if direct { Ok(definition.number) } else { Err(Refusal::WrongKind) }
    }

    fn of_kind(&self, id: &str, kind: EndpointKind) -> Result<EndpointId, Refusal> {
        let definition = self.get(id).ok_or(Refusal::UnknownEndpoint)?;
        if definition.config.kind == kind { Ok(definition.number) } else { Err(Refusal::WrongKind) }
    }

    /// The definition that a release stands for; the current one if that release is not on record.
    pub fn of_release(&self, number: EndpointId, version: u32) -> Option<&EndpointConfig> {
        let definition = self.by_number(number)?;
        Some(definition.releases.get(&version).map_or(&definition.config, |(_, config)| config))
    }

    /// Whose input the output of this one becomes.
    pub fn feeds(&self, id: &str) -> Vec<String> {
        self.get(id).map(|definition| definition.config.feeds.clone()).unwrap_or_default()
    }

    /// What a launcher is to pull, start or drop: the reference by the digest that it meant when it was first pulled, so that a
    /// tag that moves meanwhile does not give one release two contents; as it was written until that is known.
    pub fn image_reference(&self, image: ImageId) -> String {
        let written = self.images.get(image.index()).map_or("", |image| image.name.as_str());
        match self.pins.get(&image.0) {
            Some(digest) if !written.contains('@') => format!("{}@{digest}", repository(written)),
            _ => written.to_owned(),
        }
    }

    /// Remembers what a reference means; false if that was known.
    pub fn pin(&mut self, image: ImageId, digest: &str) -> bool {
        let new = !self.pins.contains_key(&image.0);
        if new {
            self.pins.insert(image.0, digest.to_owned());
        }
        new
    }
}

impl Core {
    pub(super) fn create(&mut self, config: EndpointConfig, answer: Answer<Result<EndpointView, (Refusal, String)>>) {
        let id = config.id.clone();
        let result = self.define(config, false);
        let result = result.map(|()| self.endpoint_view(&id).expect("it was just made"));
        self.answer(answer, result);
    }

    pub(super) fn update(&mut self, config: EndpointConfig, answer: Answer<Result<EndpointView, (Refusal, String)>>) {
        let id = config.id.clone();
        let result = self.redefine(config);
        let result = result.map(|()| self.endpoint_view(&id).expect("it was just changed"));
        self.answer(answer, result);
    }

    pub(super) fn delete(&mut self, id: &str, answer: Answer<Result<(), Refusal>>) {
        match self.definitions.get(id).map(|definition| definition.number) {
            None => reply(answer, Err(Refusal::UnknownEndpoint)),
            Some(number) => {
                self.undefine(number);
                self.answer(answer, Ok(()));
            }
        }
    }

    /// Makes the endpoints of the application file what the file says; those of the management API are left alone.
    pub(super) fn reconcile(&mut self, wanted: Vec<EndpointConfig>) -> Result<(), String> {
        let told = |(_, text): (Refusal, String)| text;
        let gone: Vec<EndpointId> = self
            .definitions
            .alive()
            .filter(|definition| definition.from_file && wanted.iter().all(|one| one.id != definition.config.id))
            .map(|definition| definition.number)
            .collect();
        for config in wanted {
            if self.definitions.get(&config.id).is_some() {
                self.redefine(config).map_err(told)?;
            } else {
                self.define(config, true).map_err(told)?;
            }
        }
        gone.into_iter().for_each(|number| self.undefine(number));
        Ok(())
    }

    fn define(&mut self, config: EndpointConfig, from_file: bool) -> Result<(), (Refusal, String)> {
        if !ids::is_id(&config.id) {
            return Err((Refusal::Invalid, format!("id `{}`: letters, digits, `-` and `_` only", config.id)));
        }
        if self.definitions.by_id.contains_key(&config.id) {
            let text = format!("endpoint `{}` exists or existed; ids are never used again", config.id);
            return Err((Refusal::Exists, text));
        }
        let config = self.prepared(config)?;
        let number = self.definitions.all.len() as u32;
        self.tell(Event::EndpointCreated { spec: Box::new(config.spec.clone()) });
        let version = self.scheduler.version(EndpointId(number)).unwrap_or(1);
        self.record(number, version, config, from_file);
        Ok(())
    }

    fn redefine(&mut self, config: EndpointConfig) -> Result<(), (Refusal, String)> {
        let Some(old) = self.definitions.get(&config.id) else {
            return Err((Refusal::UnknownEndpoint, format!("there is no endpoint `{}`", config.id)));
        };
        let (number, from_file, kind) = (old.number, old.from_file, old.config.kind);
        if kind != config.kind {
            return Err((Refusal::Invalid, "the kind of an endpoint cannot be changed".to_owned()));
        }
        let config = self.prepared(config)?;
        if self.definitions.get(&config.id).is_some_and(|old| old.config == config) {
            return Ok(());
        }
        // Recorded first: workers of the new release may be started within the event.
        let next = self.scheduler.version(number).unwrap_or(0) + 1;
        self.definitions.all[number.index()].releases.insert(next, (self.clock.unix_ms(self.now), config.clone()));
        self.tell(Event::EndpointUpdated { endpoint: number, spec: Box::new(config.spec.clone()) });
        let version = self.scheduler.version(number).unwrap_or(next);
        if version != next {
            self.definitions.all[number.index()].releases.remove(&next);
        }
        self.record(number.0, version, config, from_file);
        Ok(())
    }

    fn undefine(&mut self, number: EndpointId) {
        self.definitions.all[number.index()].gone = true;
        self.tell(Event::EndpointDeleted { endpoint: number });
        self.batch.push(Write::EndpointGone { number: number.0 });
    }

    /// Makes the image known to the scheduler, tells a timetable what time it is, and sums up what a container is made from.
    fn prepared(&mut self, mut config: EndpointConfig) -> Result<EndpointConfig, (Refusal, String)> {
        let known = self.definitions.images.iter().position(|image| *image == config.image);
        let image = known.unwrap_or_else(|| {
            self.definitions.images.push(config.image.clone());
            self.tell(Event::ImageAdded { image: Box::new(config.image.clone()) });
            self.definitions.images.len() - 1
        });
        config.spec.image = ImageId(image as u32);
        let scaling = &mut config.spec.policies.scaling;
        *scaling = schedule::at_clock(scaling.clone(), self.clock.epoch_unix_us());
        let made_from = serde_json::to_vec(&(&config.run, &config.image.name))
            .map_err(|error| (Refusal::Invalid, error.to_string()))?;
        config.spec.container_digest = xxh3_64(&made_from);
        Scheduler::check(&config.spec).map_err(|error| (Refusal::Invalid, error.to_string()))?;
        Ok(config)
    }

    fn record(&mut self, number: u32, version: u32, config: EndpointConfig, from_file: bool) {
        let at_ms = self.clock.unix_ms(self.now);
        self.definitions.set(number, version, at_ms, config.clone(), from_file);
        self.batch.push(Write::EndpointSet { number, version, at_ms, config: Box::new(config), from_file });
    }

    /// The scheduler went back to the settings before a release that did not come up: so does the definition.
    pub(super) fn rolled_back(&mut self, number: EndpointId, failed: u32) {
        let Some(definition) = self.definitions.by_number(number) else { return };
        let Some((_, (_, good))) = definition.releases.range(..failed).next_back() else { return };
        let mut config = definition.config.clone();
        config.image = good.image.clone();
        config.run = good.run.clone();
        config.spec.image = good.spec.image;
        config.spec.container_digest = good.spec.container_digest;
        config.spec.gpu_classes.clone_from(&good.spec.gpu_classes);
        config.spec.gpus_per_worker = good.spec.gpus_per_worker;
        config.spec.memory_bytes = good.spec.memory_bytes;
        config.spec.data_centers.clone_from(&good.spec.data_centers);
        let from_file = definition.from_file;
        tracing::warn!(endpoint = config.id, release = failed, "a release did not come up and was rolled back");
        self.record(number.0, failed + 1, config, from_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_keeps_the_meaning_that_it_had_at_first() {
        let image = |name: &str| Image { name: name.to_owned(), layers: Vec::new() };
        let exact = "host:5000/team/x@sha256:00";
        let images = vec![image("host:5000/team/x:1"), image(exact)];
        let mut definitions = Definitions::recover(Vec::new(), images);
        assert_eq!(definitions.image_reference(ImageId(0)), "host:5000/team/x:1");
        assert!(definitions.pin(ImageId(0), "sha256:aa"));
        assert!(!definitions.pin(ImageId(0), "sha256:bb"), "the tag has moved since");
        assert_eq!(definitions.image_reference(ImageId(0)), "host:5000/team/x@sha256:aa");
        definitions.pin(ImageId(1), "sha256:00");
        assert_eq!(definitions.image_reference(ImageId(1)), exact);
        assert_eq!(definitions.image_reference(ImageId(7)), "");
    }
}
