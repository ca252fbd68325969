//! How bursty traffic is: indices of dispersion of counts, from the arrival processes themselves.

use super::observe::Values;
use super::plans::Run;
use super::reference::Case;

pub fn measure(_case: &Case, _run: Run, _values: &mut Values) {}
