//! Passes an answer on that is not kept: a body that streams through a window, to one reader or to all who came in time.

use std::sync::Arc;

use http::header::AGE;
use pingora::http::ResponseHeader;

use super::write::STEP_BYTES;
use super::{Answer, Failure, Fill};
use crate::asset::Kind;
use crate::coalesce::State;
use crate::store::object::{Lifetime, charge};
use crate::store::{Body, Object, Provenance};

impl Fill<'_> {
    /// An answer that is not kept: for the one who asked, paced by its reader; its key is remembered.
    pub(in crate::coalesce) async fn pass(
        &self,
        mut header: ResponseHeader,
        kind: Kind,
        answer: Answer,
    ) -> Result<(), Failure> {
        // It is passed on as it is: how old it is when it comes is for the caches after this one to know.
        if let Some(age) = answer.response.header.headers.get(AGE) {
            // A name and a value that came in a header fit into one.
            let _ = header.insert_header(AGE, age.clone());
        }
        if !self.job.wishes.no_store {
            self.coalescer.remember_uncacheable(self.flight.slot);
        }
        if !answer.response.header.status.is_server_error() {
            self.forget_unkept();
        }
        let lifetime = Lifetime::ended(self.coalescer.clock.now());
        self.stream(header, lifetime, kind, None, answer).await
    }

    /// Streams a body through a bounded window: to all who came in time, or to one reader, for whom it has no provenance.
    pub(in crate::coalesce) async fn stream(
        &self,
        header: ResponseHeader,
        lifetime: Lifetime,
        kind: Kind,
        provenance: Option<Provenance>,
        mut answer: Answer,
    ) -> Result<(), Failure> {
        let window = self.coalescer.limits.window;
        let len = answer.length().unwrap_or(window);
        // Behind the window stands the chunk that is being read, ahead of it the one that is being filled.
        let bytes = charge(&self.flight.key, &header, len.min(2 * window) + 2 * STEP_BYTES);
        let reservation = self.coalescer.store.reserve(bytes).await.ok_or(Failure::NO_MEMORY)?;
        let body = Body::growing(Some(window), Some(reservation));
        let key = self.flight.key.clone();
        let object = Object::new(key, kind, header, lifetime, Arc::clone(&body).into());
        let shared = provenance.is_some();
        let object = Arc::new(Object { shared, provenance: provenance.unwrap_or_default(), ..object });
        self.flight.publish(if shared { State::Answered(object) } else { State::Unshared(object) });
        for data in std::mem::take(&mut answer.read) {
            body.append(data);
        }
        self.stream_on(&mut answer, &body).await;
        Ok(())
    }

    /// Streams the rest of a body through its window, as long as anybody wants it.
    pub(in crate::coalesce) async fn stream_on(&self, answer: &mut Answer, body: &Body) {
        tokio::select! {
            ended = self.pump(answer, body) => if ended { body.finish() } else { body.fail() },
            () = self.abandoned() => body.fail(),
        }
    }

    /// Moves a body from the origin into a window. False: it broke off.
    async fn pump(&self, answer: &mut Answer, body: &Body) -> bool {
        while !answer.whole {
            body.room().await;
            match self.next(&mut answer.response, &mut answer.place).await {
                Ok(Some(data)) => body.append(data),
                Ok(None) => answer.whole = true,
                Err(error) => {
                    self.note_broken(&error);
                    return false;
                }
            }
        }
        true
    }

    /// Resolves once the fetch has left the table for want of anybody who wants it.
    async fn abandoned(&self) {
        loop {
            self.flight.tickets_gone().await;
            if self.coalescer.abandon(self.flight) {
                return;
            }
        }
    }
}
