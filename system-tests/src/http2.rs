//! What `oracle-http2` asks for, each once: the path says of what size the answer is and marks it.

/// Sizes of answers and how many are asked for of each: what one call moves, what one call does not, and what a thousand would not hold.
pub const ANSWERS: [(usize, usize); 4] = [(100, 400), (30_000, 400), (200_000, 40), (1_000_000, 40)];

/// Streams at the same time.
pub const AT_ONCE: usize = 10;

/// A method of gRPC, or something plain.
pub fn path(is_grpc: bool, bytes: usize, number: usize) -> String {
    if is_grpc { format!("/marks.v1.Marks/Get{bytes}x{number}") } else { format!("/{bytes}/x{number}") }
}

/// All paths, in the order in which they are asked for, and how long the answer is.
pub fn paths(is_grpc: bool) -> Vec<(String, usize)> {
    let of = |(bytes, count): (usize, usize)| (0..count).map(move |number| (path(is_grpc, bytes, number), bytes));
    ANSWERS.into_iter().flat_map(of).collect()
}
