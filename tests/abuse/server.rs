//! HTTP servers that mean harm, and one that must never be called.

use anyhow::Result;
use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What was asked, whole.
pub type Requests = Arc<Mutex<Vec<String>>>;

/// Counts every connection and answers none: whoever comes here was not kept away.
pub async fn forbidden() -> Result<(SocketAddr, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok((address, calls))
}

/// Answers each path in its own nasty way; redirects lead to `elsewhere`.
pub async fn nasty(elsewhere: SocketAddr) -> Result<(SocketAddr, Requests)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let requests = Requests::default();
    let seen = requests.clone();
    let bomb: Arc<[u8]> = gzip_bomb()?.into();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (seen, bomb) = (seen.clone(), bomb.clone());
            tokio::spawn(async move {
                // A caller that hangs up is what should happen.
                drop(answer(socket, elsewhere, &seen, &bomb).await);
            });
        }
    });
    Ok((address, requests))
}

/// 64 MiB of zeros in some 64 KiB.
fn gzip_bomb() -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..64 {
        encoder.write_all(&vec![0_u8; 1 << 20])?;
    }
    Ok(encoder.finish()?)
}

async fn answer(mut socket: TcpStream, elsewhere: SocketAddr, seen: &Requests, bomb: &[u8]) -> Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 65_536 {
        let mut part = [0; 4_096];
        let count = socket.read(&mut part).await?;
        anyhow::ensure!(count > 0, "no request");
        request.extend_from_slice(&part[..count]);
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let whole = head.find("\r\n\r\n").unwrap_or(head.len()) + 4 + length.unwrap_or(0).min(65_536);
    while request.len() < whole {
        let mut part = [0; 4_096];
        let count = socket.read(&mut part).await?;
        anyhow::ensure!(count > 0, "half a body");
        request.extend_from_slice(&part[..count]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}connection: close\r\n\r\n");
    match path.as_str() {
        "/api/redirect" => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            socket.write_all(head.as_bytes()).await?;
        }
        "/api/bomb" => {
            let head = head(&format!("content-encoding: gzip\r\ncontent-length: {}\r\n", bomb.len()));
            socket.write_all(head.as_bytes()).await?;
            socket.write_all(bomb).await?;
        }
        "/api/drip" => {
            socket.write_all(head("content-length: 1000000\r\n").as_bytes()).await?;
            loop {
                socket.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        "/api/slow-headers" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                socket.write_all(b"x-more: 1\r\n").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        "/api/endless" => {
            socket.write_all(head("").as_bytes()).await?;
            loop {
                socket.write_all(&[b'x'; 16_384]).await?;
            }
        }
        "/api/headers" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for number in 0..100_000 {
                socket.write_all(format!("x-{number}: {}\r\n", "y".repeat(1_000)).as_bytes()).await?;
            }
        }
        "/api/garbage" => socket.write_all(b"\x00\xff\x1b[2J nonsense\r\n\r\n").await?,
        "/api/echo" => {
            let authorization = request
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().starts_with("authorization: ").then(|| &line[15..])
                })
                .unwrap_or("nothing");
            let body = format!("you said {authorization}");
            let head = head(&format!("content-length: {}\r\n", body.len()));
            socket.write_all(format!("{head}{body}").as_bytes()).await?;
        }
        _ => socket.write_all(format!("{}ok", head("content-length: 2\r\n")).as_bytes()).await?,
    }
    socket.shutdown().await?;
    Ok(())
}
