/** A table that fills a card: its outer columns stand under the card's title, its last row needs no line. */
export const EDGES =
  "sm:[&_:is(td,th):first-child]:pl-5 sm:[&_:is(td,th):last-child]:pr-5 [&_:is(td,th):first-child]:pl-4 " +
  "[&_tbody_tr:last-child>td]:border-b-0";
