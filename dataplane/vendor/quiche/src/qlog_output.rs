// Copyright (C) 2019, Cloudflare, Inc.
// All rights reserved.
//
// Redistribution and use in source and binary forms, with or without
// modification, are permitted provided that the following conditions are
// met:
//
//     * Redistributions of source code must retain the above copyright notice,
//       this list of conditions and the following disclaimer.
//
//     * Redistributions in binary form must reproduce the above copyright
//       notice, this list of conditions and the following disclaimer in the
//       documentation and/or other materials provided with the distribution.
//
// THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS
// IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO,
// THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR
// PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
// CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
// EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO,
// PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR
// PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF
// LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING
// NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
// SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.


//! Where the events of a connection go.

use std::time::Instant;

use qlog::events::Event;
use qlog::events::EventData;
use qlog::streamer::QlogStreamer;

/// Takes the events of a connection, one after the other.
pub type QlogSink = Box<dyn FnMut(Event) + Send + Sync>;

/// What is done with events.
pub(crate) enum QlogOutput {
    /// They are serialized and written at once.
    Streamer(Box<QlogStreamer>),

    /// They are handed over as they are.
    Sink { start: Instant, sink: QlogSink },
}

impl QlogOutput {
    pub fn start_time(&self) -> Instant {
        match self {
            Self::Streamer(streamer) => streamer.start_time(),

            Self::Sink { start, .. } => *start,
        }
    }

    pub fn add_event(&mut self, event: Event) -> qlog::Result<()> {
        match self {
            Self::Streamer(streamer) => streamer.add_event(event),

            Self::Sink { sink, .. } => {
                sink(event);
                Ok(())
            },
        }
    }

    pub fn add_event_data_now(&mut self, data: EventData) -> qlog::Result<()> {
        self.add_event_data_with_instant(data, Instant::now())
    }

    pub fn add_event_data_with_instant(
        &mut self, data: EventData, now: Instant,
    ) -> qlog::Result<()> {
        match self {
            Self::Streamer(streamer) =>
                streamer.add_event_data_with_instant(data, now),

            Self::Sink { start, sink } => {
                let elapsed = now.saturating_duration_since(*start);
                let millis = elapsed.as_micros() as f64 / 1_000.0;

                sink(Event::with_time(millis, data));
                Ok(())
            },
        }
    }
}
