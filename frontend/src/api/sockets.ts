/**
 * A WebSocket that comes back: after each loss it waits a little longer, by a random part so that many pages do not
 * return in the same instant, and asks for its address anew so that it can go on where it was.
 */

export type SocketState = "connecting" | "open" | "lost";

export interface SocketOptions {
  /** The path with its query, asked for before every attempt. */
  path: () => string;
  /** A parsed frame; `first` for the first one after each connection. */
  onFrame: (frame: unknown, first: boolean) => void;
  onState?: ((state: SocketState) => void) | undefined;
  /** Called when an attempt ended before it was open: the server is gone, or it refuses this browser. */
  onRefused?: (() => void) | undefined;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;

/** How long to wait before attempt `n` (from 0): doubling, capped, between half and the whole of it. */
export function backoff(attempt: number, random: () => number = Math.random): number {
  const whole = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return whole * (0.5 + 0.5 * random());
}

/** `ws://` or `wss://` of the server that this page came from. */
export function socketUrl(path: string): string {
  const { protocol, host } = window.location;
  return `${protocol === "https:" ? "wss:" : "ws:"}//${host}${path}`;
}

export class ReconnectingSocket {
  readonly #options: SocketOptions;
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #attempt = 0;
  #closed = false;

  constructor(options: SocketOptions) {
    this.#options = options;
    window.addEventListener("online", this.#now);
    document.addEventListener("visibilitychange", this.#whenSeen);
    this.#connect();
  }

  /** Close for good. */
  close(): void {
    this.#closed = true;
    window.removeEventListener("online", this.#now);
    document.removeEventListener("visibilitychange", this.#whenSeen);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#drop();
  }

  /** Connect anew at once, for example from another position. */
  restart(): void {
    if (this.#closed) return;
    this.#attempt = 0;
    this.#drop();
    this.#connect();
  }

  #now = (): void => {
    if (this.#timer !== null) this.restart();
  };

  #whenSeen = (): void => {
    if (document.visibilityState === "visible") this.#now();
  };

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #connect(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#options.onState?.("connecting");
    const socket = new WebSocket(socketUrl(this.#options.path()));
    let opened = false;
    let first = true;
    socket.onopen = () => {
      opened = true;
      this.#options.onState?.("open");
    };
    socket.onmessage = (message: MessageEvent<unknown>) => {
      // A connection that only opens and closes again must not be tried at full speed: a frame proves it good.
      this.#attempt = 0;
      if (typeof message.data !== "string") return;
      const frame: unknown = JSON.parse(message.data);
      this.#options.onFrame(frame, first);
      first = false;
    };
    socket.onclose = () => {
      this.#socket = null;
      this.#options.onState?.("lost");
      if (!opened) this.#options.onRefused?.();
      this.#timer = setTimeout(() => this.#connect(), backoff(this.#attempt++));
    };
    this.#socket = socket;
  }
}
