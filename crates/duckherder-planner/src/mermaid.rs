//! A graph as a Mermaid flowchart.

use crate::graph::{Graph, Node, NodeKind};

impl Graph {
    /// The text of a flowchart, a line a node and an edge.
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart BT\n");
        for node in &self.nodes {
            text += &format!("    {}\n", shape(node));
        }
        for edge in &self.edges {
            text += &format!("    {} -->|\"{}\"| {}\n", edge.from, escape(&edge.text), edge.to);
        }
        text
    }
}

fn shape(node: &Node) -> String {
    let lines: Vec<String> = node.lines.iter().map(|line| escape(line)).collect();
    let (open, close) = match node.kind {
        NodeKind::Table => ("[(", ")]"),
        NodeKind::Stage => ("[", "]"),
        NodeKind::Driver => ("([", "])"),
    };
    format!("{}{open}\"{}\"{close}", node.name, lines.join("<br/>"))
}

/// Text that stays what it is between quotes: no end of them, no markup, no entity, no directive.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped += "#quot;",
            '<' => escaped += "#lt;",
            '>' => escaped += "#gt;",
            '&' => escaped += "#amp;",
            '#' | '%' | '`' | '\\' | '$' => escaped += &format!("#{};", u32::from(character)),
            _ if character.is_control() => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_quotes() {
        assert_eq!(
            Graph::local("a \"quoted\" <b>&amp;\n%%{init: #1}%% `x`").mermaid(),
            "flowchart BT\n    driver([\"Driver<br/>LOCAL<br/>a #quot;quoted#quot; #lt;b#gt;#amp;amp; \
             #37;#37;{init: #35;1}#37;#37; #96;x#96;\"])\n"
        );
    }
}
