//! What one answer is to be: said by the client in its prompt, kept by the upstream, checked by the client.

/// How an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Whole,
    /// A pause before each delta.
    Slow,
    /// As [`Way::Slow`]; the client goes away in the middle.
    HungUp,
    /// The end of the connection instead of the end of the answer.
    Cut,
    Reset,
    /// The upstream says that it failed.
    Failed,
    /// Events that cannot be read.
    Garbage,
    /// Nothing more comes.
    Stalled,
    RateLimited,
    Overloaded,
}

/// Each with its weight.
pub const WAYS: [(Way, u64); 10] = [
    (Way::Whole, 50),
    (Way::Slow, 12),
    (Way::HungUp, 10),
    (Way::Cut, 6),
    (Way::Reset, 5),
    (Way::Failed, 5),
    (Way::Garbage, 3),
    (Way::Stalled, 1),
    (Way::RateLimited, 4),
    (Way::Overloaded, 4),
];

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Unlike any other of the run.
    pub id: u64,
    pub deltas: u64,
    pub way: Way,
}

const MARK: &str = "soak-plan ";

impl Plan {
    /// As it stands in the prompt.
    pub fn said(&self) -> String {
        let way = WAYS.iter().position(|(way, _)| *way == self.way).unwrap_or_default();
        format!("{MARK}{} {} {way} end", self.id, self.deltas)
    }

    /// Out of a request's body.
    pub fn heard(body: &[u8]) -> Option<Self> {
        let at = memchr::memmem::find(body, MARK.as_bytes())? + MARK.len();
        let words = std::str::from_utf8(&body[at..body.len().min(at + 60)]).ok()?;
        let mut numbers = words.split(' ').map_while(|word| word.parse::<u64>().ok());
        let (id, deltas, way) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Self { id, deltas, way: WAYS.get(usize::try_from(way).ok()?)?.0 })
    }

    /// One delta: it names its stream and its place, and carries the checksum of all that came before.
    pub fn delta(&self, number: u64) -> String {
        let sum = (0..=number).fold(self.id, |sum, number| mixed(sum ^ number));
        format!("{}.{number}.{sum:016x} ", self.id)
    }

    pub fn text(&self) -> String {
        (0..self.deltas).map(|number| self.delta(number)).collect()
    }
}

/// The finalizer of splitmix64.
pub fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Numbers that are the same on every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(mixed(seed + 1))
    }

    /// From 0 up to, not including, `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0) % sides
    }

    pub fn way(&mut self) -> Way {
        let mut left = self.roll(WAYS.iter().map(|(_, weight)| weight).sum());
        for (way, weight) in WAYS {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return way,
            }
        }
        Way::Whole
    }
}
