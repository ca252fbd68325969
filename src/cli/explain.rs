mod endpoint;
mod job;
mod story;
mod words;
mod worker;
