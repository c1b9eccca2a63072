// Example texts, from fields that models are often trained on.

export const EXAMPLES = [
  {
    name: "Trial",
    text:
      "In a randomised trial at three hospitals in Berlin, 120 patients with type 2 diabetes received metformin 500 mg " +
      "twice daily or placebo for 24 weeks. Metformin lowered fasting glucose by 1.9 mmol/L and reduced blood pressure. " +
      "Nausea was the most common adverse effect; two patients developed lactic acidosis and stopped treatment.",
    question: "What was the most common adverse effect?",
  },
  {
    name: "Biography",
    text:
      "Marie Curie was born in Warsaw and moved to Paris in 1891 to study at the Sorbonne. In 1903 she shared the Nobel " +
      "Prize in Physics with Pierre Curie and Henri Becquerel. After the war she led the Radium Institute, and in 1921 " +
      "President Harding received her at the White House in Washington.",
    question: "Where was Marie Curie born?",
  },
  {
    name: "Review",
    text:
      "The soup came cold and the waiter forgot our wine, but the lamb was the best I have had in Lyon. We stayed until " +
      "midnight, Anna sang with the pianist of the Café Bellecour, and nobody hurried us. We will be back in spring.",
    question: "What was cold?",
  },
];

export const RANKING = {
  query: "drugs that lower blood sugar",
  lines: [
    "Metformin improved glucose control in patients with type 2 diabetes.",
    "The soup came cold and the waiter forgot our wine.",
    "Insulin is given when tablets no longer keep glucose in range.",
    "Marie Curie was born in Warsaw and studied in Paris.",
    "Nausea was the most common adverse effect of treatment.",
  ],
};
