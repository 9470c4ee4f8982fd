//! What must hold whatever goes over the wire and whatever a library's calls are said to have moved.

use proptest::prelude::*;

use crate::libraries;

#[test]
fn a_request_whose_record_proves_itself_has_its_place() {
    assert_eq!(libraries::run(libraries::ASKED), 1);
    // The record is a byte longer than the request and what its cipher adds.
    let mut other = libraries::ASKED.to_vec();
    (other[4], other[11]) = (0x24, 0x24);
    assert_eq!(libraries::run(&other), 0);
}

proptest! {
    #[test]
    fn nothing_that_is_said_breaks_it(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        libraries::run(&input);
        libraries::run(&[libraries::ASKED, &input].concat());
    }
}
