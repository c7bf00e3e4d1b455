/** The part of WebSocket that partysocket uses, driven by a test. */
export class FakeSocket extends EventTarget {
  static made: FakeSocket[] = [];
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSED = 3;
  readyState: number = FakeSocket.CONNECTING;
  readonly url: string;

  constructor(url: string) {
    super();
    this.url = url;
    FakeSocket.made.push(this);
  }

  get closed(): boolean {
    return this.readyState === FakeSocket.CLOSED;
  }

  close(): void {
    this.readyState = FakeSocket.CLOSED;
  }

  static get latest(): FakeSocket {
    const last = FakeSocket.made.at(-1);
    if (!last) throw new Error("no socket was opened");
    return last;
  }

  open(): void {
    this.readyState = FakeSocket.OPEN;
    this.dispatchEvent(new Event("open"));
  }

  send(frame: unknown): void {
    this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(frame) }));
  }

  drop(): void {
    this.close();
    this.dispatchEvent(new CloseEvent("close"));
  }
}
