//! What those who let viewers watch tell the one who conducts: what each second came to, and how they ended. A *source* is a thread of
//! this process, or a worker that has joined.

use crate::measure::Book;
use crate::measure::summary::Usage;

/// Messages that wait for the conductor at most. It takes them as they come; more only pile up while it waits for the origin.
pub(crate) const NEWS_MAX: usize = 256;

/// One message.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) source: usize,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A second is over. Of a worker, with what its process took; a thread of this process is counted with the process.
    Second { second: u32, book: Box<Book>, usage: Option<Usage> },
    /// The source is done. What keeps its part from being that of the scenario, if anything does.
    Ended { spoiled: Vec<String> },
    /// Nothing more comes of the source, though it was not done.
    Lost { why: String },
}
