//! Path and query of a call.

use std::fmt::{self, Display};

use crate::origin::escape;

/// `/v1/connections/{id}?limit=10`, with everything escaped that needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    path: String,
    parameters: Vec<(&'static str, String)>,
}

impl Query {
    /// The path of these segments, each of them escaped.
    #[must_use]
    pub fn path(segments: &[&str]) -> Self {
        let path = segments
            .iter()
            .map(|segment| format!("/{}", escape(segment)))
            .collect();
        Self {
            path,
            parameters: Vec::new(),
        }
    }

    /// With a parameter, unless its value is the one that says nothing: empty or zero.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        let value = value.to_string();
        if !value.is_empty() && value != "0" {
            self.parameters.push((name, value));
        }
        self
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            write!(f, "{mark}{name}={}", escape(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out_and_the_rest_escaped() {
        let query = Query::path(&["v1", "listeners", "default/demo/https", "drain"])
            .with("peer", "192.0.2.0/24")
            .with("alpn", "")
            .with("limit", 0)
            .with("after", "a.0.1.2");
        assert_eq!(
            query.to_string(),
            "/v1/listeners/default%2Fdemo%2Fhttps/drain?peer=192.0.2.0%2F24&after=a.0.1.2"
        );
    }
}
