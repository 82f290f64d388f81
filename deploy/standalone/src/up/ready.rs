//! Whether traffic flows: `/readyz` of both planes.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;

use crate::{origin::Url, tcp};

const EVERY: Duration = Duration::from_millis(50);
/// Start-up takes less; what is wrong by then is worth telling.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until all of them answer 200; tells once in a while what is missing.
pub(super) async fn wait(planes: &[SocketAddr]) {
    let mut told = Instant::now();
    for &plane in planes {
        while let Err(why) = ask(plane).await {
            if told.elapsed() > PATIENCE {
                tracing::warn!(%plane, why, "not ready yet; `tidegate status` and `tidegate dataplanes` say more");
                told = Instant::now();
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn ask(plane: SocketAddr) -> Result<(), String> {
    let url: Url = format!("http://{plane}/readyz").parse()?;
    let answer = async {
        let mut connection = tcp::Connection::open(&url.origin, &[plane], None, false).await?;
        let response = connection
            .send(Request::get(url.uri).body(Bytes::new())?)
            .await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
    };
    match answer.await {
        Ok((status, _)) if status.is_success() => Ok(()),
        Ok((status, body)) => Err(format!("{status}: {body}")),
        Err(error) => Err(format!("{error:#}")),
    }
}
