//! A client's connection, read in portions.
//!
//! actix-http reads for as long as something is there, up to 128 KiB, into a buffer that it keeps until the connection
//! ends: the body of a long conversation would cost that much beside every stream (measured). Here it is told after each
//! portion that there is nothing more right now, and asked to look again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes: one of actix-http's own steps. Each portion costs one more look at the connection, a few µs.
const PORTION: usize = 8 * 1024;

pub struct Connection<S = TcpStream> {
    stream: S,
    /// Bytes read since the reader was last told that there is nothing.
    read: usize,
}

impl<S> Connection<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read >= PORTION {
            this.read = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.read = if polled.is_pending() { 0 } else { this.read + buffer.filled().len() - before };
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn after_each_portion_the_reader_is_sent_away_and_called_back() {
        let bytes = [7; 25_000];
        let (wakes, mut seen, mut rounds) = (Arc::new(Wakes::default()), 0, Vec::new());
        let waker = Arc::clone(&wakes).into();
        let (mut cx, mut connection) = (Context::from_waker(&waker), Connection::new(&bytes[..]));
        while seen < bytes.len() {
            let mut space = [0; 5000];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut connection).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => rounds.push(seen),
                Poll::Ready(read) => {
                    read.unwrap();
                    seen += buffer.filled().len();
                }
            }
        }
        assert_eq!(rounds, [10_000, 20_000], "each after the read that made the portion full");
        assert_eq!(wakes.0.load(Ordering::Relaxed), rounds.len());
    }

    #[actix_rt::test]
    async fn every_byte_arrives() {
        let bytes: Vec<u8> = (0..=255).cycle().take(PORTION * 5 + 3).collect();
        let mut read = Vec::new();
        Connection::new(&bytes[..]).read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes);
    }
}
