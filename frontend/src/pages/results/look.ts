/** A table that fills a card: its outer columns stand under the card's title, its last row needs no line. */
export const EDGES =
  "max-sm:[&_:is(td,th)]:px-2 [&_tr>:is(td,th):first-child]:pl-4 sm:[&_tr>:is(td,th):first-child]:pl-5 " +
  "sm:[&_tr>:is(td,th):last-child]:pr-5 [&_tbody_tr:last-child>td]:border-b-0";
